"""Measure the list page's query while much waits, against that of a short list.

The rows are copies of one real question in a table that is vacuumed, as a table of a
running stack is. What is measured is the query and the transport of one page of 50, in
either order and of one customer; both lengths are read in turns over one connection.
"""

from __future__ import annotations

import time
from statistics import median

import asyncpg

from broker.effects.approvals.queue import page_query
from broker.effects.database import Database
from broker.ports.queue import Listing, Order
from tests.bench.measure import Row, quantile, row
from tests.support.approvals.voters import large_refund
from tests.support.flow.house import open_house

PAGE, ROUNDS = 50, 30
SHORT, LENGTHS = 50, (10_000, 100_000)
ROLE = "supervisor"
COPY = """
INSERT INTO approval
SELECT (jsonb_populate_record(b, jsonb_build_object(
          'approval_id', gen_random_uuid(), 'amount', (random() * 1000000)::bigint,
          'expires_at', now() + random() * interval '7 days'))).*
  FROM approval b, generate_series(1, $1)
 WHERE b.approval_id = (SELECT approval_id FROM approval LIMIT 1)
"""
SPREAD = """
UPDATE approval_seat SET customer_ref = 'c' || (hashtext(approval_id::text) % 500)
"""


async def rows(*, owner_dsn: str, broker_dsn: str) -> list[Row]:
    """Measure a page of 50 at each length, in each way that a list can be read."""
    async with open_house(broker_dsn, owner_dsn=owner_dsn) as house:
        await large_refund(house)
    ways = {
        "by expiry": Listing((ROLE,), PAGE),
        "by amount": Listing((ROLE,), PAGE, Order.AMOUNT),
        "of one customer": Listing((ROLE,), PAGE, customer_ref="c7"),
    }
    found: list[Row] = []
    short: dict[str, float] = {}
    there = 1
    for length in (SHORT, *LENGTHS):
        owner = await asyncpg.connect(owner_dsn)
        try:
            await owner.execute(COPY, length - there, timeout=300)
            await owner.execute(SPREAD, timeout=300)
            await owner.execute("VACUUM ANALYZE approval, approval_seat, action")
        finally:
            await owner.close()
        there = length
        for way, wanted in ways.items():
            p50, p99 = await _page_ms(broker_dsn, wanted)
            if length == SHORT:
                short[way] = p50
                continue
            what = f"list page of {PAGE} {way}, {length:,} pending"
            found.append(row(f"{what}, p50", p50, "ms", short[way]))
            found.append(row(f"{what}, p99", p99, "ms", short[way]))
    return found


async def _page_ms(dsn: str, wanted: Listing) -> tuple[float, float]:
    query, values = page_query(wanted)
    database = Database(dsn, password="")
    try:
        await database.rows(query, *values)
        taken = []
        for _ in range(ROUNDS):
            began = time.perf_counter()
            await database.rows(query, *values)
            taken.append((time.perf_counter() - began) * 1_000)
    finally:
        await database.close()
    return median(taken), quantile(taken, 0.99)
