"""Whoever reaches Temporal can start, squat, end or tell a run, and gains nothing."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import re
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
from temporalio import activity
from temporalio.client import (
    WorkflowExecutionStatus,
    WorkflowUpdateFailedError,
    WorkflowUpdateStage,
)
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.service import RPCError
from temporalio.worker import Worker

from broker.core.approvals.codec import ENCODING, CodecKeys, codec_key
from broker.core.approvals.messages import TELL, TOLD_MAX, WORKFLOW
from broker.core.words.action import ActionState
from broker.effects.temporal.client import connect
from tests.support.approvals.keeper import squatting
from tests.support.approvals.timekeeping import KEYS, Stage, place, until
from tests.support.approvals.voters import (
    LARGE,
    VERY_LARGE,
    approve,
    large_refund,
    state_of,
)
from tests.support.servers import connect_temporal

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from temporalio.client import Client

FOREIGN = CodecKeys((codec_key(hashlib.sha256(b"foreign").digest()),))
"""A codec key that is not ours."""


@asynccontextmanager
async def intruder(stage: Stage) -> AsyncIterator[Client]:
    """Lend a client of somebody who reached Temporal and has no key of ours."""
    yield await connect_temporal(stage.access)


async def test_telling_a_run_lies_makes_it_look_and_nothing_more(stage: Stage) -> None:
    record = await large_refund(stage.house, VERY_LARGE)
    await approve(stage.house, "alice", record.approval_id)
    async with stage.everything(), intruder(stage) as client:
        handle = client.get_workflow_handle(record.approval_id)

        async def told(message_id: str) -> bool:
            try:
                await handle.start_update(
                    TELL, id=message_id, wait_for_stage=WorkflowUpdateStage.ACCEPTED
                )
            except RPCError:
                return False  # It has not begun yet.
            return True

        await until(lambda: told("vote-of-bob"))
        for number in range(20):
            assert await told(f"forged-{number}")
        await asyncio.sleep(0.3)
        assert await state_of(stage.house, record) is ActionState.PENDING_APPROVAL
        assert {what for what, _ in stage.broker.calls} == {"look"}
        assert stage.house.executor.amounts() == []


async def test_a_flood_of_messages_is_refused_and_leaves_no_history(
    stage: Stage,
) -> None:
    record = await large_refund(stage.house)
    async with stage.worker():
        await stage.timekeeper.start(record.approval_id)
        handle = stage.client.get_workflow_handle(record.approval_id)
        # Temporal takes ten at once.
        for first in range(0, TOLD_MAX, 10):
            numbers = range(first, first + 10)
            await asyncio.gather(
                *(handle.execute_update(TELL, id=f"m{n}") for n in numbers)
            )
        before = (await handle.fetch_history()).events
        for number in range(5):
            with pytest.raises(WorkflowUpdateFailedError):
                await handle.execute_update(TELL, id=f"more{number}")
        accepted = [
            e
            for e in (await handle.fetch_history()).events
            if e.HasField("workflow_execution_update_accepted_event_attributes")
        ]
        assert len(accepted) == TOLD_MAX
        assert before
        # The outbox counts such a message as sent: the run looks at the clock anyway.
        assert not await stage.timekeeper.tell(record.approval_id, "one more")
        assert not await stage.timekeeper.drive_out(record.approval_id, stuck=False)


async def test_a_run_that_somebody_starts_for_nothing_ends_without_doing_anything(
    stage: Stage,
) -> None:
    forged = stage.house.ports.ids.new()
    async with stage.worker():
        await stage.timekeeper.start(forged)
        assert await stage.result(forged) == "no_such_approval"
    assert stage.broker.calls == [("look", forged)]


async def test_a_run_in_clear_is_not_believed_and_is_replaced_by_ours(
    stage: Stage,
) -> None:
    record = await large_refund(stage.house)
    approval_id = record.approval_id
    async with intruder(stage) as client, stage.worker():
        await client.start_workflow(
            WORKFLOW, approval_id, id=approval_id, task_queue=stage.queue
        )
        await asyncio.sleep(0.5)
        assert stage.broker.calls == []
        # It is of our type on our queue, so it is only ended once it is surely stuck.
        await stage.outbox.send_due()
        assert not await stage.timekeeper.drive_out(approval_id, stuck=False)
        await approve(stage.house, "alice", approval_id)
        async with stage.house.admin() as owner:
            await owner.execute(
                "UPDATE outbox SET tries = 5, next_at = now() WHERE kind = 'start'"
            )
        async with stage.sending():
            assert await stage.result(approval_id) == "done"
    assert stage.house.executor.amounts() == [LARGE]


async def test_a_run_sealed_with_another_key_is_not_believed(stage: Stage) -> None:
    record = await large_refund(stage.house)
    client = await connect(place(stage.access, stage.queue), keys=FOREIGN)
    async with stage.worker():
        handle = await client.start_workflow(
            WORKFLOW, record.approval_id, id=record.approval_id, task_queue=stage.queue
        )
        await asyncio.sleep(0.5)
        assert stage.broker.calls == []
        await handle.terminate()


async def test_a_payload_cannot_be_copied_into_another_run(stage: Stage) -> None:
    one, two = await large_refund(stage.house), await large_refund(stage.house, 6_000)
    handle = await stage.client.start_workflow(
        WORKFLOW, one.approval_id, id=one.approval_id, task_queue="nobody"
    )
    history = await handle.fetch_history()
    payload = history.events[0].workflow_execution_started_event_attributes.input
    async with intruder(stage) as client, stage.worker():
        # The raw payload goes in as it is: the default converter leaves it alone.
        copy = await client.start_workflow(
            WORKFLOW,
            payload.payloads[0],
            id=two.approval_id,
            task_queue=stage.queue,
        )
        await asyncio.sleep(0.5)
        assert stage.broker.calls == []
        await copy.terminate()
    await handle.terminate()


async def test_whoever_squats_on_the_id_is_driven_out_and_the_refund_happens(
    stage: Stage,
) -> None:
    record = await large_refund(stage.house)
    approval_id = record.approval_id
    async with intruder(stage) as client, stage.worker():
        queue = f"{stage.queue}-foreign"
        async with squatting(client, approval_id, queue=queue) as squat:
            # It takes every message in, and cannot answer as ours would.
            assert not await stage.timekeeper.tell(approval_id, "lost on a squatter")
            await approve(stage.house, "alice", approval_id)
            for _ in range(2):
                await stage.overdue()
                await stage.outbox.send_due()
            found = await squat.describe()
            assert found.status is WorkflowExecutionStatus.TERMINATED
            assert await stage.result(approval_id) == "done"
    assert stage.house.executor.amounts() == [LARGE]


async def test_ending_a_run_delays_an_approved_refund_and_does_not_stop_it(
    stage: Stage,
) -> None:
    record = await large_refund(stage.house)
    approval_id = record.approval_id
    async with stage.worker():
        await stage.outbox.send_due()

        async def asked() -> bool:
            return bool(stage.broker.calls)

        await until(asked)
        await stage.overdue()
        await stage.outbox.send_due()
        assert await stage.unsent() == []
    await approve(stage.house, "alice", approval_id)
    await stage.outbox.send_due()
    async with intruder(stage) as client:
        await client.get_workflow_handle(approval_id).terminate()
    async with stage.house.admin() as owner:
        # As if the vote's message had been sent to the run that was ended.
        await owner.execute("UPDATE outbox SET done_at = now() - interval '1 hour'")
        await owner.execute("UPDATE approval SET ended_at = now() - interval '1 hour'")
    assert await stage.outbox.revive() == 1
    assert await stage.outbox.revive() == 0
    async with stage.everything():
        assert await stage.result(approval_id) == "done"
    assert stage.house.executor.amounts() == [LARGE]


async def test_the_same_start_again_is_no_second_run(stage: Stage) -> None:
    record = await large_refund(stage.house)
    for _ in range(3):
        await stage.timekeeper.start(record.approval_id)
    runs = [
        run
        async for run in stage.client.list_workflows(
            f"WorkflowId = '{record.approval_id}'"
        )
    ]
    assert len(runs) <= 1
    with pytest.raises(WorkflowAlreadyStartedError):
        await stage.client.start_workflow(
            WORKFLOW, "x", id=record.approval_id, task_queue=stage.queue
        )


async def test_temporal_holds_no_payload_in_clear_and_no_word_of_a_failure(
    stage: Stage,
) -> None:
    record = await large_refund(stage.house)
    secret = "the card of Noah Brown"

    @activity.defn(name="look")
    async def look(_: str) -> None:
        raise RuntimeError(secret)

    worker = Worker(
        await connect(place(stage.access, stage.queue), keys=KEYS),
        task_queue=stage.queue,
        activities=[look],
    )
    async with worker, stage.worker():
        await stage.timekeeper.start(record.approval_id)
        handle = stage.client.get_workflow_handle(record.approval_id)
        await asyncio.sleep(1.0)
        raw = (await handle.describe()).raw_description.SerializeToString()
        history = (await handle.fetch_history()).to_json()
        await handle.terminate()
    assert secret.encode() not in raw
    assert secret not in history
    kinds = set(re.findall(r'"encoding": "([^"]*)"', history))
    assert kinds == {base64.b64encode(ENCODING).decode()}
