"""A worker is replaced by a newer version while an approval waits for people."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from temporalio.worker import Replayer, UnsandboxedWorkflowRunner, Worker

from broker.core.words.action import ActionState
from broker.effects.temporal.client import connect
from tests.support.approvals.timekeeping import Stage, place, until
from tests.support.approvals.voters import LARGE, approve, large_refund, state_of
from tests.workflows.test_replay import Impatient, Patched
from workflows.activities import BrokerActivities
from workflows.approval import Approval
from workflows.codec import sealing_converter

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from broker.core.words.action import ActionRecord

STALLED = "WORKFLOW_TASK_FAILED"


@asynccontextmanager
async def worker_of(stage: Stage, definition: type) -> AsyncIterator[None]:
    """Let a worker work that another version of the code was rolled out to."""
    worker = Worker(
        await connect(place(stage.access, stage.queue), keys=stage.keys),
        task_queue=stage.queue,
        workflows=[definition],
        activities=BrokerActivities(stage.broker).all(),  # type: ignore[arg-type]
        workflow_runner=UnsandboxedWorkflowRunner(),
    )
    async with worker:
        yield


async def begun(stage: Stage) -> ActionRecord:
    """Return a refund whose run waits; its worker has ended."""
    record = await large_refund(stage.house)
    async with stage.worker():

        async def asked() -> bool:
            return bool(stage.broker.calls)

        await until(asked)
        await asyncio.sleep(0.2)
    return record


async def test_a_newer_worker_takes_over_what_an_older_one_began_and_settles_it_once(
    stage: Stage,
) -> None:
    async with stage.sending():
        old = await begun(stage)
        async with worker_of(stage, Patched):
            new = await large_refund(stage.house, LARGE + 1)
            for record in (old, new):
                await approve(stage.house, "alice", record.approval_id)
                assert await stage.result(record.approval_id) == "done"
    assert sorted(stage.house.executor.amounts()) == [LARGE, LARGE + 1]


async def test_a_newer_worker_that_cannot_take_over_settles_nothing_and_loses_nothing(
    stage: Stage,
) -> None:
    async with stage.sending():
        old = await begun(stage)
        async with worker_of(stage, Impatient):
            await approve(stage.house, "alice", old.approval_id)
            handle = stage.client.get_workflow_handle(old.approval_id)

            async def stalled() -> bool:
                history = (await handle.fetch_history()).to_json()
                return STALLED in history or "WorkflowTaskFailed" in history

            await until(stalled)
        assert await state_of(stage.house, old) is ActionState.READY
        assert stage.house.executor.amounts() == []
        # What it could not do left nothing behind: the old code still goes on from it.
        replayer = Replayer(
            workflows=[Approval], data_converter=sealing_converter(stage.keys)
        )
        await replayer.replay_workflow(await handle.fetch_history())
