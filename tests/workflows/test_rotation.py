"""The clock of rotations: it tells the broker to look, and carries nothing else."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest
from temporalio.client import ScheduleActionExecutionStartWorkflow
from temporalio.worker import Worker

from broker.effects.temporal.client import connect
from tests.support.approvals.timekeeping import KEYS, place, until
from tests.workflows.test_broker import Brokers, Clock, caller
from workflows.activities import BrokerActivities
from workflows.broker import ANSWER_BYTES_MAX, BrokerAwayError
from workflows.messages import ROTATION
from workflows.rotation import ROTATE_S_MAX, TRIES_MAX, Rotation
from workflows.schedules import keep_schedules

if TYPE_CHECKING:
    from broker.cli.stack.embedded import Access


@dataclass
class Told:
    """A broker that is away at first, and then rotates once."""

    away: int = 0
    calls: list[bool] = field(default_factory=list)

    async def rotate_if_due(self) -> bool:
        self.calls.append(True)
        if len(self.calls) <= self.away:
            msg = "no broker answers now"
            raise BrokerAwayError(msg)
        return True


async def test_a_schedule_tells_the_broker_and_a_second_worker_makes_no_second_one(
    servers: Access, temporal_task_queue: str
) -> None:
    queue, told = temporal_task_queue, Told(away=1)
    client = await connect(place(servers, queue), keys=KEYS)
    for _ in range(2):
        await keep_schedules(client, task_queue=queue)
    schedule = client.get_schedule_handle(f"{ROTATION}-{queue}")
    try:
        worker = Worker(
            client,
            task_queue=queue,
            workflows=[Rotation],
            activities=[BrokerActivities(told).rotate],  # type: ignore[arg-type]
        )
        async with worker:
            await schedule.trigger()

            async def ran() -> bool:
                recent = (await schedule.describe()).info.recent_actions
                return bool(recent) and len(told.calls) == 2

            await until(ran)
        running = (await schedule.describe()).info.recent_actions[0].action
        assert isinstance(running, ScheduleActionExecutionStartWorkflow)
        handle = client.get_workflow_handle(running.workflow_id)
        history = await handle.fetch_history()
        begun = history.events[0].workflow_execution_started_event_attributes
        assert not begun.input.payloads
        assert begun.workflow_type.name == ROTATION
    finally:
        await schedule.delete()


async def test_the_worker_asks_the_brokers_in_order_and_sends_nothing() -> None:
    for said, wanted in (({"rotated": True}, True), ({"rotated": False}, False)):
        brokers = Brokers(body=said, down={"http://127.0.0.1:8400"})
        assert await caller(brokers, Clock()).rotate_if_due() is wanted
        assert brokers.paths()[-1] == "POST /internal/keys/rotate-if-due"
        assert brokers.seen[-1].content == b""


@pytest.mark.parametrize("brokers", [Brokers(call=503), Brokers(call=404)])
async def test_no_good_answer_is_no_answer(brokers: Brokers) -> None:
    with pytest.raises(BrokerAwayError):
        await caller(brokers, Clock()).rotate_if_due()


async def test_an_answer_that_is_too_long_is_none() -> None:
    with pytest.raises(BrokerAwayError):
        await caller(
            Brokers(body={"rotated": "x" * ANSWER_BYTES_MAX}), Clock()
        ).rotate_if_due()


def test_a_run_gives_up_and_leaves_it_to_the_next_one() -> None:
    assert TRIES_MAX * ROTATE_S_MAX < 3_600
