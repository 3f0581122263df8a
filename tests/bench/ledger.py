"""Measure the log, each row against the least that could do it, or the plain way.

The plain way of appending is one transaction per entry under the head's row lock, with
the same SQL functions and the same checks; the floor of a durable entry is one INSERT
and its commit over the same driver. Both sides run in turns in one process; each row is
the median of its turns. What is signed and verified is part of both sides.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from statistics import median
from typing import Any
from urllib.parse import unquote, urlsplit

import asyncpg

from broker.core.jws import check, unpack
from broker.core.transparency.entry_leaf import ENTRY_TYP, open_entry, seal_entry
from broker.core.transparency.export import verify_export
from broker.core.words.errors import LedgerUnavailableError
from broker.effects.database import Database
from broker.effects.ledger import PostgresLedger, SqlCall
from broker.effects.ledger.integration import Integrator
from broker.effects.ledger.jobs import Job, read_leaf
from tests.bench.measure import TURNS, Row, row, turns
from tests.support.log.made import KEY, KEYS, entry, export_of, leaf

CALLERS = 64
SECONDS = 0.6
SERIAL = 60
EXPORTED = 400
FLOOR = """
CREATE TABLE IF NOT EXISTS bench_log (
  entry_id uuid PRIMARY KEY, leaf bytea NOT NULL);
CREATE TABLE IF NOT EXISTS bench_read (number bigint PRIMARY KEY);
GRANT SELECT, INSERT ON bench_log, bench_read TO cf_broker;
CREATE OR REPLACE FUNCTION bench_reads(p_numbers bigint[]) RETURNS void
LANGUAGE sql AS $$ INSERT INTO bench_read SELECT unnest(p_numbers) $$;
"""
_FLOOR = "INSERT INTO bench_log VALUES ($1, $2)"

Append = Callable[[int], Awaitable[Any]]


async def rows(*, owner_dsn: str, broker_dsn: str) -> list[Row]:
    """Measure appending, proving and verifying.

    Args:
        owner_dsn: A migrated database of the bench's own, as its owner.
        broker_dsn: The same database, as the broker.
    """
    owner = await asyncpg.connect(owner_dsn)
    await owner.execute(FLOOR)
    await owner.close()
    password = unquote(urlsplit(broker_dsn).password or "")
    database = Database(broker_dsn, password=password, pool_max=12)
    own = Database(broker_dsn, password=password, pool_max=4)
    ledger = PostgresLedger(own, keys=lambda: KEYS, alarm=lambda *_: None)
    try:
        return [
            *await _appending(database, ledger),
            await _proving(database, ledger),
            _verifying(),
        ]
    finally:
        await ledger.close()
        await own.close()
        await database.close()


async def _appending(database: Database, ledger: PostgresLedger) -> list[Row]:
    fresh = _numbers()
    alone = Integrator(database, log="main", keys=lambda: KEYS, alarm=lambda *_: None)

    async def grouped(number: int) -> None:
        await ledger.append([leaf(number)])

    async def with_row(number: int) -> None:
        await ledger.append_with([leaf(number)], SqlCall("bench_reads", (number,)))

    async def plain(number: int) -> None:
        done: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        job = Job(done, (read_leaf(leaf(number), KEYS),))
        try:
            await alone.commit([job])
        except LedgerUnavailableError:
            # A lock that was not had in time: the plain way under too many callers.
            return

    async def floor(number: int) -> None:
        made = entry(number)
        await database.value(_FLOOR, made["entry_id"], seal_entry(made, key=KEY))

    async def staged(number: int) -> None:
        made = entry(number)
        await database.value(
            "INSERT INTO audit_stage (entry_id, leaf) VALUES ($1, $2)",
            made["entry_id"],
            seal_entry(made, key=KEY),
        )
        await ledger.integrate([made["entry_id"]])

    found: list[Row] = []
    for name, ours in (
        ("entries in group commits", grouped),
        ("entries with a row of the caller's", with_row),
        ("entries staged, then integrated", staged),
    ):
        fast, raw = await turns(partial(_speed, numbers=fresh), ours, plain)
        what = f"{name}, {CALLERS} callers, against one transaction each"
        found.append(row(what, fast, "1/s", raw))
    wait, raw = await turns(partial(_serial_ms, numbers=fresh), grouped, floor)
    found.append(row("a lone entry, p50, against one INSERT", wait, "ms", raw))
    cpu, raw = await turns(partial(_cpu_ms, numbers=fresh), grouped, floor)
    found.append(row("client CPU of an entry, against one INSERT", cpu, "ms", raw))
    return found


async def _proving(database: Database, ledger: PostgresLedger) -> Row:
    size, _ = await ledger.history.head()
    places = itertools.cycle(range(0, size, max(1, size // 97)))

    async def prove(_: int) -> None:
        await ledger.history.inclusion(next(places), size)

    async def look_up(_: int) -> None:
        sql = "SELECT leaf FROM audit_entry WHERE log = 'main' AND seq = $1"
        await database.value(sql, next(places))

    wait, raw = await turns(partial(_serial_ms, numbers=_numbers()), prove, look_up)
    return row(f"a proof in {size} entries, p50, against one lookup", wait, "ms", raw)


def _verifying() -> Row:
    lines = export_of([leaf(number) for number in range(EXPORTED)])
    leaves = [leaf(number) for number in range(EXPORTED)]
    parts = []
    for each in leaves:
        opened = open_entry(each, KEYS)
        token = each.split(b'"')
        parts.append(unpack(b".".join((token[7], token[3], token[11]))))
        assert opened["kind"]
        assert parts[-1].typ == ENTRY_TYP
    mine, bare = [], []
    for _ in range(TURNS):
        started = time.perf_counter()
        for part in parts:
            check(part, key=KEYS[KEY.kid])
        bare.append(EXPORTED / (time.perf_counter() - started))
        started = time.perf_counter()
        verify_export(lines)
        mine.append(EXPORTED / (time.perf_counter() - started))
    what = "entries of an export verified, against their signatures alone"
    return row(what, median(mine), "1/s", median(bare))


def _numbers() -> Iterator[int]:
    return itertools.count(int(time.time()) % 10**6 * 1_000_000)


async def _all(call: Append, numbers: Iterator[int]) -> int:
    """Call from many callers at once for SECONDS; return how often."""
    until = time.perf_counter() + SECONDS
    count = 0

    async def work() -> None:
        nonlocal count
        while time.perf_counter() < until:
            await call(next(numbers))
            count += 1

    await asyncio.gather(*(work() for _ in range(CALLERS)))
    return count


async def _speed(call: Append, numbers: Iterator[int]) -> float:
    started = time.perf_counter()
    return await _all(call, numbers) / (time.perf_counter() - started)


async def _cpu_ms(call: Append, numbers: Iterator[int]) -> float:
    started = time.process_time()
    count = await _all(call, numbers)
    return (time.process_time() - started) / count * 1_000


async def _serial_ms(call: Append, numbers: Iterator[int]) -> float:
    waits = []
    for _ in range(SERIAL):
        started = time.perf_counter()
        await call(next(numbers))
        waits.append((time.perf_counter() - started) * 1_000)
    return median(waits)
