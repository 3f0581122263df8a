"""Lines and rate keys for tests, and the broker's way into a real database."""

from __future__ import annotations

import hashlib
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from urllib.parse import unquote, urlsplit

from broker.core.words.budget import Line, RateKey, Total, Window
from broker.effects.database import Database
from broker.effects.limits.rates import ValkeyCounter, valkey_client

TODAY = datetime(2026, 11, 23, tzinfo=UTC)
TOMORROW = datetime(2026, 11, 24, tzinfo=UTC)


def line(name="agent", **fields) -> Line:
    """Return a line of 1 USD cent in the budget with this name, limit 100."""
    fields = {
        "rule_id": name,
        "budget_id": hashlib.sha256(name.encode()).hexdigest(),
        "window": Window.DAY,
        "window_start": TODAY,
        "unit": "USD",
        "limit": 100,
        "amount": 1,
        "scope": (("agent", "agent-1"),),
    } | fields
    return Line(**fields)


def action(number: int) -> str:
    """Return the id of an action."""
    return f"0193{number:028x}"[:8] + f"-{number:04x}-7000-8000-{number:012x}"


def rate(name="calls", *, interval_us=60_000_000, burst=5, tenant="demo") -> RateKey:
    """Return a rate key that comes back so slowly that no test waits for it."""
    return RateKey(f"{{{tenant}}}:dev:rate:{name}:0", name, interval_us, burst)


# A loaded machine may keep a healthy Valkey waiting; only tests of silence are hasty.
PATIENT_S = 10.0


def patient_counter(url: str, *, password: str | None = None) -> ValkeyCounter:
    """Return a Valkey counter that does not give up on a slow machine."""
    client = valkey_client(url, password=password, answer_s=PATIENT_S)
    return ValkeyCounter(client, answer_s=PATIENT_S)


async def total(budgets, asked: Line):
    """Return what the budget of a line has taken."""
    return (await budgets.totals([asked.key])).get(asked.key, Total())


@asynccontextmanager
async def broker_database(pg_database, *, pool_max=8):
    """Lend the broker's own adapter, in its own role, to a fresh database."""
    url = pg_database.dsn("cf_broker")
    password = unquote(urlsplit(url).password or "")
    database = Database(url, password=password, pool_max=pool_max)
    try:
        yield database
    finally:
        await database.close()
