"""How long a run waits for what, as Temporal is told."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from temporalio.worker import Worker

from broker.core.approvals.messages import WORKFLOW
from broker.effects.clock import RandomIds
from broker.effects.temporal.client import connect
from tests.support.approvals.timekeeping import KEYS, place, until
from tests.workflows.record import PENDING, READY, ScriptedBroker
from workflows.activities import BEAT_EVERY_S, BrokerActivities
from workflows.approval import (
    BEAT_S_MAX,
    LOOK_AGAIN_S_MAX,
    LOOK_S_MAX,
    SETTLE_AGAIN_S_MAX,
    SETTLED_S_MAX,
    Approval,
)

if TYPE_CHECKING:
    from broker.cli.stack.embedded import Access
    from workflows.messages import Standing


async def events_until_timers(
    access: Access, queue: str, lines: list[Standing], *, timers: int
) -> list[Any]:
    """Play lines until so many timers were started; return the history's events."""
    client = await connect(place(access, queue), keys=KEYS)
    broker: Any = ScriptedBroker([*lines])
    activities = BrokerActivities(broker).all()
    worker = Worker(
        client, task_queue=queue, workflows=[Approval], activities=activities
    )
    async with worker:
        # Other test processes play on the same server: each run has its own id.
        own = RandomIds().new()
        handle = await client.start_workflow(WORKFLOW, own, id=own, task_queue=queue)
        events: list[Any] = []

        async def started() -> bool:
            events[:] = (await handle.fetch_history()).events
            return len(timers_of(events)) >= timers

        await until(started)
        await handle.terminate()
    return events


def timers_of(events: list[Any]) -> list[float]:
    """Return the timers that were started, in seconds."""
    return [
        event.timer_started_event_attributes.start_to_fire_timeout.ToTimedelta().total_seconds()
        for event in events
        if event.HasField("timer_started_event_attributes")
    ]


def questions_of(events: list[Any]) -> dict[str, Any]:
    """Return each question's timeouts by its name."""
    scheduled = [
        event.activity_task_scheduled_event_attributes
        for event in events
        if event.HasField("activity_task_scheduled_event_attributes")
    ]
    return {one.activity_type.name: one for one in scheduled}


@pytest.mark.parametrize(
    ("left_s", "waits_s"),
    [
        (90.0, 90.0),
        (float(LOOK_AGAIN_S_MAX), LOOK_AGAIN_S_MAX),
        (LOOK_AGAIN_S_MAX + 1.0, LOOK_AGAIN_S_MAX),
        (0.0, 1.0),
    ],
)
async def test_a_run_waits_until_the_expiry_but_at_most_a_week(
    servers: Access, temporal_task_queue: str, left_s: float, waits_s: float
) -> None:
    lines = [replace(PENDING, left_s=left_s)] * 20
    events = await events_until_timers(servers, temporal_task_queue, lines, timers=1)
    assert timers_of(events)[0] == waits_s


async def test_settling_is_tried_again_with_growing_and_bounded_waits(
    servers: Access, temporal_task_queue: str
) -> None:
    events = await events_until_timers(
        servers, temporal_task_queue, [READY] * 20, timers=2
    )
    assert timers_of(events)[:2] == [2.0, 4.0]
    assert max(2.0**tries for tries in range(6)) <= SETTLE_AGAIN_S_MAX < 2.0**6


async def test_each_question_has_its_time_and_a_worker_that_falls_silent_is_replaced(
    servers: Access, temporal_task_queue: str
) -> None:
    events = await events_until_timers(
        servers, temporal_task_queue, [READY] * 20, timers=1
    )
    asked = questions_of(events)
    assert asked["look"].start_to_close_timeout.ToSeconds() == LOOK_S_MAX
    assert asked["settle"].start_to_close_timeout.ToSeconds() == SETTLED_S_MAX
    assert {one.heartbeat_timeout.ToSeconds() for one in asked.values()} == {BEAT_S_MAX}
    assert BEAT_EVERY_S * 2 < BEAT_S_MAX
