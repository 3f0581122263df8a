"""Whoever keeps time, in memory, and who takes its place on a real Temporal."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from temporalio import workflow
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from broker.core.approvals.messages import TELL
from broker.core.words.errors import UnavailableError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from temporalio.client import Client, WorkflowHandle


@dataclass
class FakeKeeper:
    """Temporal, in memory: what was said to it, and whether it answers."""

    down: bool = False
    refuses: bool = False
    squatted: set[str] = field(default_factory=set)
    said: list[tuple[str, str]] = field(default_factory=list)
    stuck: list[bool] = field(default_factory=list)
    at_once: int = 0
    most_at_once: int = 0

    async def start(self, approval_id: str) -> None:
        await self._call("start", approval_id)

    async def tell(self, approval_id: str, message_id: str) -> bool:
        await self._call("tell", message_id)
        return not (self.refuses or approval_id in self.squatted)

    async def drive_out(self, approval_id: str, *, stuck: bool) -> bool:
        await self._call("drive_out", approval_id)
        self.stuck.append(stuck)
        was = approval_id in self.squatted
        self.squatted.discard(approval_id)
        return was

    async def _call(self, what: str, which: str) -> None:
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        await asyncio.sleep(0.001)
        self.at_once -= 1
        if self.down:
            msg = "Temporal does not answer"
            raise UnavailableError(msg)
        self.said.append((what, which))


@workflow.defn(name="squatter")
class Squatter:
    """Sits on an id and takes every message in."""

    @workflow.run
    async def run(self) -> None:
        await workflow.wait_condition(lambda: False)

    @workflow.update(name=TELL)
    async def tell(self) -> None:
        """Answer as if it were ours."""


@asynccontextmanager
async def squatting(
    client: Client, approval_id: str, *, queue: str
) -> AsyncIterator[WorkflowHandle[object, object]]:
    """Have somebody with a worker of their own sit on an approval's id."""
    foreign = Worker(
        client,
        task_queue=queue,
        workflows=[Squatter],
        workflow_runner=UnsandboxedWorkflowRunner(),
    )
    async with foreign:
        begun = await client.start_workflow(
            "squatter", id=approval_id, task_queue=queue
        )
        yield client.get_workflow_handle(
            approval_id, run_id=begun.first_execution_run_id
        )
