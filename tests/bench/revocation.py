"""Measure how soon another replica refuses, and how soon what was pending has ended.

Two replicas share a database, as they would share a server. One revokes a grant; the
other is asked with its token and with a child's, until it refuses both. Then an agent
with many pending actions is revoked: none can be claimed from the commit on, and their
rows are ended by the sweeper, whose time is measured.
"""

from __future__ import annotations

import os
import time
from statistics import median
from typing import TYPE_CHECKING

from broker import flow, sweeper
from tests.bench.measure import Row, row
from tests.support.flow.house import AGENT_ID
from tests.support.identity.replicas import granted, lent, status, two_replicas
from tests.support.policies import publish

if TYPE_CHECKING:
    from tests.support.flow.house import House
    from tests.support.mcp.house import McpHouse

TURNS = 50
PENDING = int(os.environ.get("COUNTERFOIL_BENCH_PENDING", "1000"))
AMOUNT, NO_LIMIT = 20_000, 2**40
REFUSED_MS_MAX = 1_000.0
UNAUTHORIZED = 401


async def rows(*, owner_dsn: str, broker_dsn: str) -> list[Row]:
    """Measure on a migrated database of the bench's own."""
    async with two_replicas(broker_dsn, owner_dsn) as (here, there):
        return [*await _refusals(here, there), *await _pending(here.house, there.house)]


async def _refusals(here: McpHouse, there: McpHouse) -> list[Row]:
    took: list[float] = []
    for turn in range(TURNS):
        grant = f"bench-{turn}"
        mine, child = granted(grant), lent(grant)
        for fields in (mine, child):
            assert await status(there, **fields) != UNAUTHORIZED
        await here.house.revoke(f"grant:{grant}")
        began = time.perf_counter()
        for fields in (mine, child):
            while await status(there, **fields) != UNAUTHORIZED:
                pass
        took.append((time.perf_counter() - began) * 1e3)
    took.sort()
    first = "another replica refuses a revoked grant and its child"
    return [
        row(f"{first}, p50", median(took), "ms", REFUSED_MS_MAX),
        row(f"{first}, p90", took[len(took) * 9 // 10], "ms", REFUSED_MS_MAX),
        row(f"{first}, slowest of {TURNS}", took[-1], "ms", REFUSED_MS_MAX),
    ]


async def _pending(here: House, there: House) -> list[Row]:
    rules = ("agent-pending", "agent-pending-count", "agent-day", "customer-day")
    await publish(here, limits=dict.fromkeys(rules, NO_LIMIT))
    here.executor.paid = NO_LIMIT
    where = await here.interaction()
    await here.read_order(where)
    for number in range(PENDING):
        await flow.submit(here.ports, here.refund(where, AMOUNT, key=f"p{number}"))
    (first,) = await here.ports.store.newest(agent_id=AGENT_ID, limit=1)
    await here.revoke(f"agent:{AGENT_ID}")
    began = time.perf_counter()
    ended = await flow.settle(there.ports, first)
    one_ms = (time.perf_counter() - began) * 1e3
    assert ended is not None
    while await there.ports.store.revoked(limit=1):
        await sweeper.revoked(there.ports)
    took_s = time.perf_counter() - began
    assert await here.held() == 0
    text = f"{PENDING} actions are pending when their agent is revoked"
    return [
        row(f"{text}: one is settled elsewhere", one_ms, "ms", REFUSED_MS_MAX),
        row(f"{text}: all rows ended", took_s, "s", 0),
        row(f"{text}: each", took_s * 1e3 / PENDING, "ms", 0),
    ]
