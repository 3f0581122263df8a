"""Record the histories that every later version of the workflow must replay.

``PYTHONPATH=. python -P -m tests.workflows.record`` writes histories/<name>.json for
every scene that has none yet. None is ever replaced: runs like it may be open.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from temporalio.worker import Worker

from broker.cli.stack.embedded import EmbeddedServers
from broker.core.approvals.messages import TELL, WORKFLOW
from broker.effects.temporal.client import connect
from tests.support.approvals.timekeeping import KEYS, place, until
from workflows.activities import BrokerActivities
from workflows.approval import Approval
from workflows.broker import BrokerAwayError, NoSuchApprovalError
from workflows.messages import Standing

if TYPE_CHECKING:
    from temporalio.client import Client

HISTORIES = Path(__file__).with_name("histories")
QUEUE = "histories"
ID = "0197a000-0000-7000-8000-0000000000f1"

PENDING = Standing("pending", "pending_approval", 3_600.0)
SHORT = Standing("pending", "pending_approval", 1.0)
READY = Standing("approved", "ready", 3_000.0)
EXECUTING = Standing("approved", "executing", 3_000.0)
DONE = Standing("approved", "done", 3_000.0)
UNKNOWN = Standing("approved", "unknown", 3_000.0)
REFUSED = Standing("rejected", "refused", 3_000.0)
EXPIRED = Standing("expired", "expired", 0.0)
WITHDRAWN = Standing("withdrawn", "cancelled", 3_000.0)
ASKED_AGAIN = Standing("stale", "refused", 3_000.0)

AWAY, GONE = BrokerAwayError("away"), NoSuchApprovalError("none")


@dataclass(frozen=True)
class Scene:
    """What the broker answers in turn, and how often the run is told meanwhile."""

    answers: Sequence[Standing | Exception]
    told: int = 0


SCENES = {
    "approved": Scene((PENDING, READY, DONE), told=1),
    "approved_by_two": Scene((PENDING, PENDING, READY, DONE), told=2),
    "approved_before_it_began": Scene((READY, DONE)),
    "rejected": Scene((PENDING, REFUSED), told=1),
    "expired": Scene((SHORT, EXPIRED)),
    "expired_late": Scene((SHORT, SHORT, EXPIRED)),
    "settled_in_three_tries": Scene((READY, EXECUTING, EXECUTING, DONE)),
    "unknown": Scene((READY, UNKNOWN)),
    "broker_away": Scene((AWAY, PENDING, AWAY, READY, DONE), told=1),
    "no_such_approval": Scene((GONE,)),
    "withdrawn": Scene((PENDING, WITHDRAWN), told=1),
    # A new policy asked otherwise: another approval, with a run of its own.
    "asked_again": Scene((PENDING, ASKED_AGAIN), told=1),
    # Time had two things done, and then somebody of the further role signed.
    "reminded_and_passed_on": Scene((SHORT, SHORT, PENDING, READY, DONE), told=1),
    "confirmed_by_the_customer": Scene((PENDING, PENDING, READY, DONE), told=2),
    "passed_on_and_expired": Scene((SHORT, SHORT, SHORT, EXPIRED)),
}


@dataclass
class ScriptedBroker:
    """A broker that says its lines."""

    lines: list[Standing | Exception]
    said: int = 0

    async def look(self, _approval_id: str) -> Standing:
        return self._next()

    async def settle(self, _approval_id: str) -> Standing:
        return self._next()

    async def expire(self, _approval_id: str) -> Standing:
        return self._next()

    def has_said(self, count: int) -> Callable[[], Awaitable[bool]]:
        async def said() -> bool:
            return self.said >= count

        return said

    def _next(self) -> Standing:
        line = self.lines[self.said]
        self.said += 1
        if isinstance(line, Exception):
            raise line
        return line


async def play(client: Client, scene: Scene, *, queue: str = QUEUE) -> str:
    """Play a scene; return its history as JSON."""
    broker: Any = ScriptedBroker(list(scene.answers))
    worker = Worker(
        client,
        task_queue=queue,
        workflows=[Approval],
        activities=BrokerActivities(broker).all(),
    )
    async with worker:
        handle = await client.start_workflow(WORKFLOW, ID, id=ID, task_queue=queue)
        for number in range(scene.told):
            await until(broker.has_said(_before_telling(scene, number)))
            await asyncio.sleep(0.2)
            await handle.execute_update(TELL, id=f"message-{number}")
        await handle.result()
    return (await handle.fetch_history()).to_json()


def _before_telling(scene: Scene, number: int) -> int:
    """Return how many lines are said before this message: until the n-th wait."""
    waits = [n for n, line in enumerate(scene.answers, 1) if line == PENDING]
    return waits[number]


async def record() -> None:
    """Record every scene that has no history yet."""
    HISTORIES.mkdir(exist_ok=True)
    with (
        tempfile.TemporaryDirectory() as folder,
        EmbeddedServers.lease(Path(folder) / "servers") as leased,
    ):
        here = place(leased.access, QUEUE, identity="recorder")
        client = await connect(here, keys=KEYS)
        for name, scene in SCENES.items():
            path = HISTORIES / f"{name}.json"
            if not path.exists():
                history = json.loads(await play(client, scene))
                path.write_text(json.dumps(history, indent=1) + "\n", "utf-8")
                sys.stdout.write(f"recorded {path.name}\n")


if __name__ == "__main__":
    asyncio.run(record())
