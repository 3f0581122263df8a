"""Measure approvals against a bare Temporal workflow with one Update, in one run.

Ours: an action is submitted, its run has asked the broker (queued), a person looks,
signs, and the run has it settled (executed). All of it is real but the executor, which
answers at once: what is seen is the approval and not the tool. Bare: a workflow is
started, gets one Update from the same client, and ends. In turns, then 16 at once.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from statistics import median
from typing import TYPE_CHECKING

from temporalio import workflow
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from broker import flow
from broker.core.words.action import ActionState
from broker.effects.clock import RandomIds
from tests.bench.measure import Row, quantile, rounds, row
from tests.support.approvals.timekeeping import Stage, open_stage
from tests.support.approvals.voters import PAID_PLENTY, approve
from tests.support.flow.house import open_house
from tests.support.policies import publish

if TYPE_CHECKING:
    from broker.cli.stack.embedded import Access
    from broker.core.words.subject import Interaction

SERIAL, CROWD, AT_ONCE = 12, 48, 16
SERIES_S_MAX = 40.0
AMOUNT = 6_000
"""Minor units that no standing approval covers, and one person signs."""

LOOK_S, CROWD_LOOK_S = 0.002, 0.02
"""How often the end is looked for; sixteen who look often would be what is seen."""

PATIENCE_S = 60.0
PLENTY = 1_000_000_000
IDS = RandomIds()


@workflow.defn(name="bare")
class Bare:
    """A workflow that waits for one Update and ends."""

    def __init__(self) -> None:
        """Begin with nothing told."""
        self._told = False

    @workflow.run
    async def run(self) -> None:
        """Wait until told."""
        await workflow.wait_condition(lambda: self._told)

    @workflow.update
    def tell(self) -> None:
        """Take it in."""
        self._told = True


@dataclass
class Seen:
    """Milliseconds until queued, and from vote to end; and how many in a second."""

    queued_ms: list[float] = field(default_factory=list)
    ended_ms: list[float] = field(default_factory=list)
    per_s: list[float] = field(default_factory=list)
    look_s: float = LOOK_S


async def rows(*, owner_dsn: str, broker_dsn: str, access: Access) -> list[Row]:
    """Measure both, in turns."""
    async with (
        open_house(broker_dsn, owner_dsn=owner_dsn) as house,
        open_stage(house, access, IDS.new()) as stage,
    ):
        named = ("agent-day", "customer-day", "agent-pending")
        await publish(house, limits=dict.fromkeys(named, PLENTY))
        house.executor.paid = PAID_PLENTY * 1_000
        interaction = await house.interaction()
        await house.read_order(interaction)
        ours, bare = Seen(), Seen()
        one = _ours(stage, interaction, ours)
        other = _bare(stage, bare)
        async with stage.everything(), _bare_worker(stage):
            for number in rounds(SERIES_S_MAX):
                for call, seen in ((other, bare), (one, ours)):
                    if number == 0:
                        await call()  # Connections and caches are made.
                        seen.queued_ms, seen.ended_ms = [], []
                    for _ in range(SERIAL):
                        await call()
            for call, seen in ((other, bare), (one, ours)) * 2:
                keep = Seen([*seen.queued_ms], [*seen.ended_ms])
                seen.look_s = CROWD_LOOK_S
                began = time.perf_counter()
                await _crowd(call)
                seen.per_s.append(CROWD / (time.perf_counter() - began))
                seen.queued_ms, seen.ended_ms = keep.queued_ms, keep.ended_ms
    return _rows(ours, bare)


def _rows(ours: Seen, bare: Seen) -> list[Row]:
    found = []
    for name, mine, floor in (
        ("approval, start to queued", ours.queued_ms, bare.queued_ms),
        ("approval, vote to executed", ours.ended_ms, bare.ended_ms),
    ):
        for share, word in ((0.5, "p50"), (0.95, "p95"), (0.99, "p99")):
            value, base = quantile(mine, share), quantile(floor, share)
            found.append(row(f"{name}, {word}", value, "ms", base))
    what = f"approvals, {AT_ONCE} in flight"
    return [*found, row(what, median(ours.per_s), "1/s", median(bare.per_s))]


def _ours(
    stage: Stage, interaction: Interaction, seen: Seen
) -> Callable[[], Awaitable[None]]:
    house, numbers = stage.house, itertools.count()

    async def call() -> None:
        key = f"bench-{next(numbers)}"
        began = time.perf_counter()
        asked = house.refund(interaction, AMOUNT, key=key)
        answer = await flow.submit(house.ports, asked)
        assert answer.record is not None
        record = answer.record
        assert record.state is ActionState.PENDING_APPROVAL, record.reasons
        stage.outbox.nudge()
        heard = "SELECT started_at IS NOT NULL FROM approval WHERE approval_id = $1"
        await _until(
            lambda: house.database.value(heard, record.approval_id), seen.look_s
        )
        seen.queued_ms.append((time.perf_counter() - began) * 1_000)
        began = time.perf_counter()
        # Who signs needs a look first, and some actions need two people.
        assert record.asked is not None
        for name in ("alice", "bob")[: record.asked.quorum.approvers_min]:
            await approve(house, name, record.approval_id)
        stage.outbox.nudge()
        done = "SELECT state = 'done' FROM action WHERE action_id = $1"
        await _until(
            lambda: house.database.value(done, record.request.action_id), seen.look_s
        )
        seen.ended_ms.append((time.perf_counter() - began) * 1_000)

    return call


def _bare(stage: Stage, seen: Seen) -> Callable[[], Awaitable[None]]:
    async def call() -> None:
        began = time.perf_counter()
        own = IDS.new()
        handle = await stage.client.start_workflow(
            "bare", id=own, task_queue=f"{stage.queue}-bare"
        )
        seen.queued_ms.append((time.perf_counter() - began) * 1_000)
        began = time.perf_counter()
        await handle.execute_update("tell")
        await handle.result()
        seen.ended_ms.append((time.perf_counter() - began) * 1_000)

    return call


def _bare_worker(stage: Stage) -> Worker:
    return Worker(
        stage.client,
        task_queue=f"{stage.queue}-bare",
        workflows=[Bare],
        workflow_runner=UnsandboxedWorkflowRunner(),
    )


async def _crowd(call: Callable[[], Awaitable[None]]) -> None:
    slots = asyncio.Semaphore(AT_ONCE)

    async def one() -> None:
        async with slots:
            await call()

    await asyncio.gather(*(one() for _ in range(CROWD)))


async def _until(holds: Callable[[], Awaitable[bool]], look_s: float) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not await holds():  # noqa: ASYNC110  (nothing tells)
            await asyncio.sleep(look_s)
