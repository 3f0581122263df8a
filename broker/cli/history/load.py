"""Store a history as the owner of a demo's database, once, and integrate its entries.

Rows and staged entries are one transaction: if we die in it, nothing is there, and if
we die after it, the first broker integrates what is staged, as it does for anybody.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, cast

from broker.cli.history.money import is_over
from broker.cli.history.play import SEED, History, World, played
from broker.cli.history.shop import shop_at
from broker.cli.history.stage import STAMP
from broker.cli.stack.planning.plan import LOG, OWN
from broker.cli.stack.state import CHECKOUT
from broker.core.jwk import PrivateKey
from broker.core.record import envelope
from broker.core.transparency.entry_leaf import seal_entry
from broker.core.words.budget import CUSTOMERS_UNIT
from broker.effects.authority import SignedAuthority
from broker.effects.database import Connection, Database
from broker.effects.keyfiles import read_secret
from broker.effects.keys import KeyRing, load_keys
from broker.effects.ledger import PostgresLedger
from broker.effects.policies import policy_reader
from broker.effects.registry import Entries, Registry
from broker.effects.shelf import CatalogShelf
from broker.effects.vault import PayloadVault
from broker.registry.authority import Realm

DATA: Final = CHECKOUT / "infra" / "democrm" / "data" / "retail_db.json.gz"
STORE_S: Final = 60.0

_LOADED = "SELECT EXISTS (SELECT FROM simulation)"
_NOTE = """
INSERT INTO simulation (seed, first_day, last_day, actions, entries)
VALUES ($1, $2, $3, $4, $5)
"""
_STAGED = "SELECT count(*) FROM audit_stage"
# Counters of windows that are over: somebody may have worked then, so they are added.
_BUDGETS = """
INSERT INTO budget AS b (budget_id, window_start, rule_id, span, unit, scope, posted,
                         version, limit_seen, simulated)
SELECT l.budget_id, l.window_start, l.rule_id, l.span, l.unit, l.scope, l.posted, 1,
       l.limit_seen, true
  FROM jsonb_to_recordset($1) AS l(budget_id text, window_start timestamptz,
         rule_id text, span text, unit text, scope jsonb, posted bigint,
         limit_seen bigint)
    ON CONFLICT (budget_id, window_start)
    DO UPDATE SET posted = b.posted + EXCLUDED.posted, simulated = true
"""
_MEMBERS = """
INSERT INTO budget_member (budget_id, window_start, member)
SELECT * FROM unnest($1::text[], $2::timestamptz[], $3::text[]) ON CONFLICT DO NOTHING
"""


class HistoryError(Exception):
    """A history cannot be loaded here, for a reason that a person can mend."""


def load(environment: Mapping[str, str] = os.environ) -> None:
    """Load the history into the demo that the environment names; once only.

    Needs the owner's database access and the broker's keys, as the bootstrap does.
    """
    if environment.get("COUNTERFOIL_STAMP") != "demo":
        sys.exit("this state is stamped production, which takes no simulated history")
    state = Path(environment["COUNTERFOIL_STATE"])
    database, logbook = _database(environment, OWN), _database(environment, LOG)
    keys = load_keys(state / "broker")
    shelf = CatalogShelf(Path(environment["COUNTERFOIL_CATALOG"]))
    realm = Realm(
        environment.get("COUNTERFOIL_TENANT", "demo"),
        environment.get("COUNTERFOIL_ENVIRONMENT", "dev"),
        {keys.authority.kid: keys.authority.public()},
    )
    try:
        asyncio.run(_load((database, logbook), keys, shelf, realm))
    except HistoryError as error:
        sys.exit(str(error))


def _database(environment: Mapping[str, str], prefix: str) -> Database:
    url = environment[f"{prefix}DATABASE_URL"]
    file = environment.get(f"{prefix}DATABASE_PASSWORD_FILE", "")
    password = read_secret(Path(file)).decode().strip() if file else ""
    return Database(url, password=password)


async def _load(
    databases: tuple[Database, Database],
    keys: KeyRing,
    shelf: CatalogShelf,
    realm: Realm,
) -> None:
    database, logbook = databases
    try:
        if await database.value(_LOADED):
            return
        world = await world_of(database, keys, shelf=shelf, realm=realm)
        await stored(database, await played(world, seed=SEED), key=keys.entry)
        await integrated(logbook, keys.entry)
    finally:
        await database.close()
        await logbook.close()


async def world_of(
    database: Database, keys: KeyRing, *, shelf: CatalogShelf, realm: Realm
) -> World:
    """Return what a history is made in, from the state's signed rows.

    Raises:
        HistoryError: it lacks the demo's agent or channel.
    """
    # A history reads signed rows and writes none.
    registry = Registry(
        database, realm=realm, key=keys.authority, entries=cast("Entries", None)
    )
    authority = SignedAuthority(database, registry, read_policy=policy_reader(shelf))
    agents = {row.body["name"]: row.row_id for row in await registry.list("agent")}
    channels = {row.body["name"]: row.row_id for row in await registry.list("channel")}
    agent_id, channel_id = agents.get("care-agent"), channels.get("webchat")
    scopes = [f"global:{realm.environment}", f"agent:{agent_id}"]
    view = await authority.view(agent_id or "", scopes)
    if agent_id is None or channel_id is None or view.agent is None:
        msg = "the demo's agent and channel are not here any more; a history needs both"
        raise HistoryError(msg)
    return World(
        tenant=realm.tenant,
        environment=realm.environment,
        agent_id=agent_id,
        channel_id=channel_id,
        view=view,
        people=await authority.approvers(),
        shelf=shelf,
        vault=PayloadVault(database, kek=keys.payload_kek),
        shop=shop_at(DATA),
        loaded_at=datetime.now(UTC),
    )


async def stored(database: Database, history: History, *, key: PrivateKey) -> None:
    """Store rows and stage signed entries in one transaction."""
    leaves = [
        (entry.entry_id, seal_entry(envelope(entry), key=key))
        for entry in history.kept.entries
    ]
    last = history.first + timedelta(days=history.days - 1)
    async with database.connection() as connection, connection.transaction():
        await connection.execute(
            _NOTE,
            history.seed,
            history.first.date(),
            last.date(),
            len(history.kept.actions),
            len(leaves),
        )
        await _rows(connection, history)
        await _money(connection, history)
        await _copy(
            connection,
            "audit_stage",
            [{"entry_id": name, "leaf": leaf} for name, leaf in leaves],
        )


async def integrated(database: Database, key: PrivateKey) -> None:
    """Bring what is staged into the log as a broker does that finds it, in its role."""
    ledger = PostgresLedger(
        database, keys=lambda: {key.kid: key.public()}, alarm=lambda _word, _more: None
    )
    try:
        before = None
        while (left := await database.value(_STAGED)) not in {0, before}:
            before = left
            await ledger.sweep()
    finally:
        await ledger.close()


async def _rows(connection: Connection, history: History) -> None:
    kept = history.kept
    payloads = [
        {
            "payload_id": one.ref.payload_id,
            "subject": one.ref.subject,
            "purpose": one.ref.purpose,
            "retention": one.ref.retention,
            "data_class": one.ref.data_class,
            "sha256": one.ref.sha256,
            "sealed": one.data,
        }
        for one in kept.payloads
    ]
    await _copy(connection, "payload", payloads)
    for table, rows in (
        ("interaction", kept.interactions),
        ("turn", kept.turns),
        ("action", kept.actions.values()),
        ("approval", kept.approvals.values()),
        ("vote", kept.votes),
    ):
        await _copy(connection, table, [{**row, STAMP: True} for row in rows])


async def _money(connection: Connection, history: History) -> None:
    money = history.money
    budgets = money.budgets()
    document = [
        {
            "budget_id": line.budget_id,
            "window_start": line.window_start.isoformat(),
            "rule_id": line.rule_id,
            "span": line.window.value,
            "unit": line.unit,
            "scope": dict(line.scope),
            "posted": total.posted,
            "limit_seen": line.limit,
        }
        for line, total in budgets
    ]
    await connection.execute(_BUDGETS, document, timeout=STORE_S)
    members = [
        (*line.key, member)
        for line, _ in budgets
        if line.unit == CUSTOMERS_UNIT
        for member in money.members(line.key)
    ]
    columns = [[row[at] for row in members] for at in range(3)]
    await connection.execute(_MEMBERS, *columns, timeout=STORE_S)
    taken = [
        {
            "action_id": action_id,
            "budget_id": one.line.budget_id,
            "window_start": one.line.window_start,
            "amount": one.amount,
            "posted": one.posted if one.state == "posted" else None,
            "state": one.state,
            STAMP: True,
        }
        for action_id, all_ in money.taken.items()
        for one in all_
        if is_over(one.line.window, one.line.window_start, loaded_at=money.loaded_at)
    ]
    await _copy(connection, "reservation", taken)


async def _copy(
    connection: Connection, table: str, rows: Iterable[Mapping[str, Any]]
) -> None:
    """Copy rows that all name the same columns."""
    found = list(rows)
    if not found:
        return
    columns: Sequence[str] = list(found[0])
    await connection.copy_records_to_table(
        table,
        records=[tuple(row[name] for name in columns) for row in found],
        columns=columns,
        timeout=STORE_S,
    )
