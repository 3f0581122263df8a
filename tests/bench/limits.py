"""Measure reservations and rate checks, each against the least that could do it.

The floor of a reservation is one SQL function with one conditional UPDATE and one
INSERT over the same driver; the floor of a rate check is a PING, and an EVAL of two
commands. Both sides run in turns in one process; each row is the median of its turns.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Awaitable, Callable
from statistics import median
from typing import Any
from urllib.parse import unquote, urlsplit

import asyncpg
from redis.asyncio import Redis

from broker.core.words.budget import CountedBy
from broker.core.words.effect import Tier
from broker.effects.database import Database
from broker.effects.limits.budgets import PostgresBudgets
from broker.effects.limits.rates import (
    ProcessCounter,
    SqlCounter,
    ValkeyCounter,
    ValkeyRates,
    valkey_client,
)
from tests.bench.measure import Row, row, turns
from tests.support.limits.lines import PATIENT_S, line, rate

CALLS = 500
WORKERS = 16
LIMIT = 10**12
EVAL = "redis.call('SET', KEYS[1], ARGV[1]) return redis.call('GET', KEYS[1])"
FLOOR = """
CREATE TABLE IF NOT EXISTS bench_floor (
  id int PRIMARY KEY, held bigint NOT NULL) WITH (fillfactor = 50);
CREATE TABLE IF NOT EXISTS bench_floor_row (
  action uuid PRIMARY KEY, id int NOT NULL, amount bigint NOT NULL);
INSERT INTO bench_floor SELECT n, 0 FROM generate_series(0, 49) n
  ON CONFLICT DO NOTHING;
CREATE OR REPLACE FUNCTION bench_floor(p_action uuid, p_id int) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
  UPDATE bench_floor SET held = held + 1 WHERE id = p_id AND held + 1 <= 1000000000000;
  IF NOT FOUND THEN
    RETURN false;
  END IF;
  INSERT INTO bench_floor_row VALUES (p_action, p_id, 1);
  RETURN true;
END $$;
"""

Call = Callable[[int], Awaitable[Any]]


async def rows(*, owner_dsn: str, broker_dsn: str, valkey_url: str) -> list[Row]:
    """Measure everything, and count what was overspent at a limit (it must be 0).

    Args:
        owner_dsn: A migrated database, as its owner; two tables are added to it.
        broker_dsn: The same database, as the broker.
        valkey_url: A Valkey whose keys may be used, with its password.
    """
    owner = await asyncpg.connect(owner_dsn)
    await owner.execute(FLOOR)
    await owner.close()
    password = unquote(urlsplit(broker_dsn).password or "")
    database = Database(broker_dsn, password=password, pool_max=WORKERS)
    client = valkey_client(valkey_url, answer_s=PATIENT_S)
    try:
        return [
            *await _reservations(database),
            await _overspend(database),
            *await _rates(client, database),
        ]
    finally:
        await client.aclose()
        await database.close()


async def _reservations(database: Database) -> list[Row]:
    budgets = PostgresBudgets(database)

    def floor(spread: int) -> Call:
        return lambda n: database.value(
            "SELECT bench_floor($1, $2)", uuid.uuid4(), n % spread
        )

    def ours(spread: int, lines: int = 1) -> Call:
        async def call(n: int) -> None:
            names = [f"bench-{spread}-{lines}-{k}-{n % spread}" for k in range(lines)]
            taken = [line(name, limit=LIMIT) for name in names]
            admission = await budgets.reserve(str(uuid.uuid4()), taken)
            assert admission.admitted

        return call

    found: list[Row] = []
    for spread, name in ((1, "on one hot budget"), (50, "over 50 budgets")):
        fast, raw = await turns(_speed, ours(spread), floor(spread))
        found.append(row(f"reservations {name}", fast, "1/s", raw))
    cpu, raw_cpu = await turns(_cpu_ms, ours(50), floor(50))
    found.append(row("client CPU of a reservation", cpu, "ms", raw_cpu))
    wait, raw_wait = await turns(_serial_us, ours(1), floor(1))
    found.append(row("a reservation of 1 line, p50", wait, "us", raw_wait))
    wait, raw_wait = await turns(_serial_us, ours(1, 8), floor(1))
    found.append(row("a reservation of 8 lines, p50", wait, "us", raw_wait))
    return found


async def _overspend(database: Database) -> Row:
    """Let twice too many ask for one budget at once; return what is above its limit."""
    budgets = PostgresBudgets(database)
    asked = line(f"bench-limit-{uuid.uuid4()}", limit=200)
    answers = await asyncio.gather(
        *(budgets.reserve(str(uuid.uuid4()), [asked]) for _ in range(400))
    )
    total = (await budgets.totals([asked.key]))[asked.key]
    over = max(0, total.held + total.posted - asked.limit)
    lost = abs(sum(said.admitted for said in answers) - total.held)
    return row("overspent by 400 at once", over + lost, "units", 0)


async def _rates(client: Redis, database: Database) -> list[Row]:
    rates = ValkeyRates(
        ValkeyCounter(client, answer_s=PATIENT_S),
        sql=SqlCounter(database),
        process=ProcessCounter(),
    )
    await rates.start()

    def check(keys: int) -> Call:
        charged = [
            rate(f"bench-{keys}-{k}", interval_us=1, burst=1_000_000)
            for k in range(keys)
        ]

        async def call(_: int) -> None:
            answer = await rates.check(charged, tier=Tier.INTERNAL)
            assert answer.counted_by is CountedBy.VALKEY

        return call

    def ping(_: int) -> Awaitable[Any]:
        return client.execute_command("PING")

    def script(n: int) -> Awaitable[Any]:
        return client.execute_command("EVAL", EVAL, 1, f"{{bench}}:{n % 50}", n)

    found: list[Row] = []
    for keys in (1, 4):
        name = f"a rate check of {keys} key{'s'[: keys - 1]}"
        wait, raw = await turns(_serial_us, check(keys), ping)
        found.append(row(f"{name}, p50, against PING", wait, "us", raw))
        fast, raw = await turns(_speed, check(keys), script)
        found.append(row(f"{name}, {WORKERS} at once, against EVAL", fast, "1/s", raw))
    await rates.aclose()
    return found


async def _speed(call: Call) -> float:
    """Return calls per second with WORKERS at once."""
    started = time.perf_counter()
    await _all(call)
    return CALLS / (time.perf_counter() - started)


async def _cpu_ms(call: Call) -> float:
    """Return this process's CPU per call, in milliseconds."""
    started = time.process_time()
    await _all(call)
    return (time.process_time() - started) / CALLS * 1_000


async def _serial_us(call: Call) -> float:
    """Return the median time of one call after another, in microseconds."""
    waits = []
    for number in range(CALLS // 5):
        started = time.perf_counter()
        await call(number)
        waits.append((time.perf_counter() - started) * 1_000_000)
    return median(waits)


async def _all(call: Call) -> None:
    numbers = iter(range(CALLS))

    async def work() -> None:
        for number in numbers:
            await call(number)

    await asyncio.gather(*(work() for _ in range(WORKERS)))
