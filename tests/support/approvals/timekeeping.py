"""Temporal for tests: an outbox, a worker on a queue of its own, and intruders."""

from __future__ import annotations

import asyncio
import hashlib
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from temporalio.client import WorkflowFailureError
from temporalio.exceptions import TerminatedError
from temporalio.service import RPCError
from temporalio.worker import Worker

from broker import flow
from broker.approving import ending
from broker.core.approvals.codec import CodecKeys, KeySource, codec_key
from broker.core.words.errors import BrokerError, NotFoundError
from broker.effects.temporal.client import Place, Timekeeper, connect
from broker.effects.temporal.outbox import Outbox
from workflows.activities import BrokerActivities
from workflows.approval import Approval
from workflows.broker import BrokerAwayError, NoSuchApprovalError
from workflows.messages import Standing

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from temporalio.client import Client

    from broker.cli.stack.embedded import Access
    from broker.ports import OnDesk
    from tests.support.flow.house import House

KEYS = CodecKeys((codec_key(hashlib.sha256(b"codec").digest()),))
PATIENCE_S = 30.0


def place(access: Access, queue: str, **changes: Any) -> Place:
    """Return where the run's Temporal is."""
    fields: dict[str, Any] = {
        "address": access.temporal_address,
        "namespace": access.temporal_namespace,
        "task_queue": queue,
        "identity": "test",
        "proxy": access.temporal_proxy,
        "user": access.temporal_user,
        "password": access.temporal_password,
    }
    return Place(**fields | changes)


@dataclass
class HouseBroker:
    """The broker as the worker sees it, without HTTP in between."""

    house: House
    away: bool = False
    calls: list[tuple[str, str]] = field(default_factory=list)

    async def look(self, approval_id: str) -> Standing:
        return await self._ask("look", approval_id)

    async def settle(self, approval_id: str) -> Standing:
        return await self._ask("settle", approval_id)

    async def expire(self, approval_id: str) -> Standing:
        return await self._ask("expire", approval_id)

    async def _ask(self, what: str, approval_id: str) -> Standing:
        self.calls.append((what, approval_id))
        if self.away:
            msg = "no broker answers now"
            raise BrokerAwayError(msg)
        ports = self.house.ports
        try:
            match what:
                case "look":
                    return _said(await ending.standing(ports, approval_id))
                case "expire":
                    return _said(await ending.expire(ports, approval_id))
                case _:
                    found = await ending.standing(ports, approval_id)
                    await flow.settle(ports, found.action_id)
                    return _said(await ending.standing(ports, approval_id))
        except NotFoundError as error:
            raise NoSuchApprovalError(str(error)) from error
        except BrokerError as error:
            raise BrokerAwayError(str(error)) from error


def _said(found: OnDesk) -> Standing:
    return Standing(found.state.value, found.action_state.value, found.due_s)


@dataclass
class Stage:
    """What keeps time in a test."""

    house: House
    queue: str
    access: Access
    client: Client
    timekeeper: Timekeeper
    outbox: Outbox
    broker: HouseBroker
    keys: KeySource

    @asynccontextmanager
    async def worker(self) -> AsyncIterator[Worker]:
        """Let a worker work, with a connection of its own."""
        worker = Worker(
            await connect(place(self.access, self.queue), keys=self.keys),
            task_queue=self.queue,
            workflows=[Approval],
            activities=BrokerActivities(self.broker).all(),  # type: ignore[arg-type]
        )
        async with worker:
            yield worker

    @asynccontextmanager
    async def sending(self) -> AsyncIterator[None]:
        """Let the outbox send."""
        await self.outbox.start()
        try:
            yield
        finally:
            await self.outbox.close()

    @asynccontextmanager
    async def everything(self) -> AsyncIterator[None]:
        """Let worker and outbox work."""
        async with self.worker(), self.sending():
            yield

    async def result(self, approval_id: str) -> str:
        """Wait for the run of an approval to end, and return what it says."""
        handle = self.client.get_workflow_handle(approval_id, result_type=str)
        async with asyncio.timeout(PATIENCE_S):
            while True:
                try:
                    return await handle.result()
                except RPCError:
                    await asyncio.sleep(0.05)  # It has not begun yet.
                except WorkflowFailureError as error:
                    # Somebody ended it: another one is on its way.
                    if not isinstance(error.cause, TerminatedError):
                        raise
                    await asyncio.sleep(0.05)

    async def overdue(self) -> None:
        """Let every message be due now, as waiting would."""
        async with self.house.admin() as owner:
            await owner.execute("UPDATE outbox SET next_at = now()")

    async def unsent(self) -> list[str]:
        """Return the kinds of messages that are not done."""
        async with self.house.admin() as owner:
            found = await owner.fetch(
                "SELECT kind FROM outbox WHERE done_at IS NULL ORDER BY outbox_id"
            )
        return [row["kind"] for row in found]


@asynccontextmanager
async def open_stage(
    house: House, access: Access, queue: str, *, keys: KeySource = KEYS
) -> AsyncIterator[Stage]:
    """Set the stage; nothing works yet."""
    here = place(access, queue)
    timekeeper = Timekeeper(here, keys=keys)
    outbox = Outbox(house.database, keeper=timekeeper)
    client = await connect(here, keys=keys)
    broker = HouseBroker(house)
    yield Stage(house, queue, access, client, timekeeper, outbox, broker, keys)


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    """Wait until something holds, and fail after PATIENCE_S."""
    async with asyncio.timeout(PATIENCE_S):
        while not await holds():  # noqa: ASYNC110  (nothing tells)
            await asyncio.sleep(0.05)
