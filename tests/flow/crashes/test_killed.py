"""Replicas that are killed with SIGKILL at every step, and wherever they happen to be.

Real processes on real PostgreSQL; after each of them its leases lapse and another
replica sweeps. `make chaos` does this to whole stacks, with a seed.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

import pytest

from broker import flow, sweeper
from broker.core.transparency.merkle import leaf_hash, root_of
from broker.core.words.action import ActionState
from broker.core.words.budget import ReservationState, Window
from broker.registry.limits.beside import limit_id
from tests.flow.test_books import books_of
from tests.support.flow.house import put_row
from tests.support.flow.kept_edge import TABLES, KeptEdge

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from tests.support.flow.house import House

ROOT = Path(__file__).resolve().parents[3]
SEED, RANDOM_KILLS, LIMIT = 7, 6, 3_000
STEPS_MAX = 20
OF = {
    ActionState.DONE: ReservationState.POSTED,
    ActionState.REFUSED: ReservationState.VOIDED,
    ActionState.FAILED: ReservationState.VOIDED,
    ActionState.PENDING_APPROVAL: ReservationState.HELD,
    ActionState.UNKNOWN: ReservationState.UNKNOWN,
}
OPEN = {ReservationState.HELD, ReservationState.EXECUTING, ReservationState.UNKNOWN}


@asynccontextmanager
async def doomed(house: House, dsn: str) -> AsyncIterator[Callable[..., Any]]:
    """Start what forks replicas, and give orders for one after the other."""
    async with house.admin() as owner:
        await owner.execute(TABLES)
    house.executor = KeptEdge(house.database)
    house.ports = replace(house.ports, executor=house.executor)
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-P", "-m", "tests.support.flow.doomed"),
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT)},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    given, told = process.stdin, process.stdout
    where = {"dsn": dsn, "owner_dsn": house.owner_dsn}

    async def order(work: str, **more: Any) -> dict[str, Any]:
        given.write(json.dumps({"work": work, **where, **more}).encode() + b"\n")
        await given.drain()
        ended: dict[str, Any] = json.loads(await told.readline())
        return ended

    try:
        yield order
    finally:
        given.close()
        await process.wait()


async def swept(house: House) -> None:
    """Let another replica find what was left behind, as the sweeper and Temporal do."""
    await house.lapse()
    await house.ledger.sweep()
    await sweeper.interrupted(house.ports)
    for row in await house.database.rows(
        "SELECT action_id FROM action WHERE state = 'ready'"
    ):
        await flow.settle(house.ports, str(row["action_id"]))


async def sound(house: House) -> list[ReservationState]:
    """Check budgets, reservations, shop and log against each other."""
    overspent = await house.database.rows("SELECT * FROM kept_overspent")
    assert overspent == []
    states = {
        str(row["action_id"]): ActionState(row["state"])
        for row in await house.database.rows("SELECT action_id, state FROM action")
    }
    rows = await house.database.rows("SELECT * FROM reservation")
    found: dict[str, set[ReservationState]] = {}
    for row in rows:
        found.setdefault(str(row["action_id"]), set()).add(
            ReservationState(row["state"])
        )
    # Each reservation is in one state, and it is the one of its action.
    assert found == {
        name: {OF[state]} for name, state in states.items() if name in found
    }
    assert all(row["posted"] is not None for row in rows if row["state"] == "posted")
    assert isinstance(house.executor, KeptEdge)
    refunds = await house.executor.refunds()
    assert all(len(amounts) == 1 for amounts in refunds.values())
    known = {name for name in refunds if states[name] is not ActionState.UNKNOWN}
    assert all(states[name] is ActionState.DONE for name in known)
    assert await house.posted() == sum(refunds[name][0] for name in known)
    for budget in await house.database.rows("SELECT * FROM budget"):
        mine = [
            row
            for row in rows
            if (row["budget_id"], row["window_start"])
            == (budget["budget_id"], budget["window_start"])
        ]
        held = sum(r["amount"] for r in mine if ReservationState(r["state"]) in OPEN)
        assert budget["held"] == held
        if mine and budget["span"] != Window.PENDING:
            posted = sum(row["posted"] or 0 for row in mine)
            assert budget["posted"] == posted
    _, differences = await books_of(house).compare()
    assert list(differences) == []
    await verifies(house)
    return [state for states in found.values() for state in states]


async def verifies(house: House) -> None:
    """Check the log: books_of opened each entry, this is the tree over them."""
    size, root = await house.ledger.history.head()
    leaves = [
        leaf_hash(row["leaf"])
        for row in await house.database.rows(
            "SELECT leaf FROM audit_entry ORDER BY seq"
        )
    ]
    assert len(leaves) == size
    assert root_of(leaves) == root


@pytest.mark.timeout(300)
async def test_a_replica_killed_at_any_step_of_a_reservation_spends_nothing_twice(
    house: House, pg_broker_dsn: str
) -> None:
    async with doomed(house, pg_broker_dsn) as order:
        for work, step in (("permitted", "store.submit"), ("approved", "store.claim")):
            seen = []
            for at in range(STEPS_MAX):
                ended = await order(work, at=at, amount=100 + at)
                if ended["signal"] == 0:
                    assert ended == {"signal": 0, "left": 0, "at": ""}
                    break
                assert ended["signal"] == signal.SIGKILL
                seen.append(ended["at"])
                await swept(house)
            assert {step, "executor.run", "store.finish"} <= {*seen}
            await swept(house)
            await sound(house)
        assert await house.database.value("SELECT count(*) FROM kept_admission") > 0


@pytest.mark.timeout(300)
async def test_replicas_killed_at_random_moments_leave_each_reservation_in_one_state(
    house: House, pg_broker_dsn: str
) -> None:
    random = Random(SEED)
    # So tight that replicas race for what is left of it.
    body = {"rule": "agent-day", "limit": LIMIT, "proposed": None}
    await put_row(house, "limit", limit_id("agent-day"), body)
    async with doomed(house, pg_broker_dsn) as order:
        for number in range(RANDOM_KILLS):
            moment = {"after": random.randint(1, 8), "after_s": random.uniform(0, 0.05)}
            ended = await order("busy", seed=f"{SEED} {number}", **moment)
            assert ended == {"signal": signal.SIGKILL, "left": 0, "at": ""}
            await swept(house)
            states = await sound(house)
    assert ReservationState.POSTED in states
    assert LIMIT - 900 < await house.posted() + await house.held() <= LIMIT
