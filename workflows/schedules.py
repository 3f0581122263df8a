"""What Temporal starts by itself: one schedule for each environment's task queue."""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import Final

from temporalio.client import (
    Client,
    Schedule,
    ScheduleActionStartWorkflow,
    ScheduleAlreadyRunningError,
    ScheduleIntervalSpec,
    ScheduleOverlapPolicy,
    SchedulePolicy,
    ScheduleSpec,
)
from temporalio.service import RPCError

from workflows.messages import ROTATION

ROTATION_EVERY_S: Final = 3_600

_log = logging.getLogger("worker")


async def keep_schedules(client: Client, *, task_queue: str) -> None:
    """Make the schedule of rotations if it is not there.

    Every worker does so when it starts. Where Temporal refuses, brokers rotate all the
    same: each looks by itself.
    """
    name = f"{ROTATION}-{task_queue}"
    schedule = Schedule(
        action=ScheduleActionStartWorkflow(ROTATION, id=name, task_queue=task_queue),
        spec=ScheduleSpec(
            intervals=[ScheduleIntervalSpec(every=timedelta(seconds=ROTATION_EVERY_S))]
        ),
        policy=SchedulePolicy(overlap=ScheduleOverlapPolicy.SKIP),
    )
    try:
        await client.create_schedule(name, schedule)
    except ScheduleAlreadyRunningError:
        return
    except RPCError as error:
        _log.warning("schedule_refused %s", error.status.name)
