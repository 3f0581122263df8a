"""Temporal's client: starts the run that keeps an approval's time, and tells it news.

Everything that goes there is sealed, and is an approval's id at most. Temporal may be
away at any time: calls are bounded, connect lazily and by themselves again, and their
failure means "later", never "no".
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final, TypeVar

from temporalio.api.enums.v1 import TaskQueueType
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import DescribeTaskQueueRequest
from temporalio.client import (
    Client,
    RPCTimeoutOrCancelledError,
    WorkflowExecutionStatus,
    WorkflowUpdateFailedError,
)
from temporalio.common import WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.service import (
    HttpConnectProxyConfig,
    RetryConfig,
    RPCError,
    RPCStatusCode,
)

from broker.core.approvals.codec import CodecError
from broker.core.approvals.messages import TELL, WORKFLOW
from broker.core.words.errors import UnavailableError
from broker.effects.temporal.codec import sealing_converter

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from broker.core.approvals.codec import KeySource

CONNECT_S_MAX: Final = 4.0
CALL_S_MAX: Final = 5.0
"""Longest call, its retries included; an update waits for a worker meanwhile."""

T = TypeVar("T")
_RETRIES = RetryConfig(
    initial_interval_millis=50,
    max_interval_millis=500,
    max_elapsed_time_millis=2_000,
    max_retries=4,
)


@dataclass(frozen=True, slots=True)
class Place:
    """Where Temporal is; ``proxy`` is the socket of the CONNECT proxy before it."""

    address: str
    namespace: str
    task_queue: str
    identity: str
    proxy: str = ""
    user: str = ""
    password: str = ""

    def __repr__(self) -> str:
        """Keep the password out of logs and tracebacks."""
        return f"Place({self.address}, {self.namespace}, {self.task_queue})"


class Timekeeper:
    """Starts runs and tells them news; Temporal is the clock, and decides nothing."""

    def __init__(self, place: Place, *, keys: KeySource) -> None:
        """Keep where it is; nothing is connected yet."""
        self._place = place
        self._keys = keys
        self._client: Client | None = None
        self._connecting = asyncio.Lock()

    async def start(self, approval_id: str) -> None:
        """Start the run of an approval; one that runs already is left alone.

        Raises:
            UnavailableError: Temporal does not answer now.
        """
        client = await self._connected()
        call = client.start_workflow(
            WORKFLOW,
            approval_id,
            id=approval_id,
            task_queue=self._place.task_queue,
            # A run that ended, or was ended, is followed by one that asks the broker
            # and ends at once if there is nothing left to do.
            id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
            id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
            rpc_timeout=timedelta(seconds=CALL_S_MAX),
        )
        try:
            await _bounded(call)
        except WorkflowAlreadyStartedError:
            return
        except RPCError as error:
            raise _down(error) from error

    async def tell(self, approval_id: str, message_id: str) -> bool:
        """Tell the run that something happened, and start one if there is none.

        The same message id is taken in once. Returns False if what runs there refused
        the message: it is not ours, or had its fill.

        Raises:
            UnavailableError: Temporal does not answer now, or no worker does.
        """
        client = await self._connected()
        handle = client.get_workflow_handle(approval_id)
        timeout = timedelta(seconds=CALL_S_MAX)
        try:
            await _bounded(
                handle.execute_update(TELL, id=message_id, rpc_timeout=timeout)
            )
        except (WorkflowUpdateFailedError, CodecError):
            # An answer in clear is nobody's of ours.
            return False
        except RPCError:
            # There is none, or not any more: a new one begins by looking.
            await self.start(approval_id)
        return True

    async def drive_out(self, approval_id: str, *, stuck: bool) -> bool:
        """End a run that squats on an approval's id; return whether there was one.

        A run of another type or queue is foreign. With ``stuck`` ours is ended too,
        provided that there are workers who could have answered for it: nothing is lost,
        because a run remembers nothing that SQL does not know.

        Raises:
            UnavailableError: Temporal does not answer now.
        """
        client = await self._connected()
        handle = client.get_workflow_handle(approval_id)
        timeout = timedelta(seconds=CALL_S_MAX)
        try:
            found = await _bounded(handle.describe(rpc_timeout=timeout))
            if found.status is not WorkflowExecutionStatus.RUNNING:
                return False
            ours = (
                found.workflow_type == WORKFLOW
                and found.task_queue == self._place.task_queue
            )
            if ours and not (stuck and await self._workers(client)):
                return False
            reason = "this id belongs to an approval"
            await _bounded(handle.terminate(reason=reason, rpc_timeout=timeout))
        except RPCError:
            # There is no such run, or not any more.
            return False
        return True

    async def _workers(self, client: Client) -> bool:
        """Return whether somebody polls our task queue."""
        request = DescribeTaskQueueRequest(
            namespace=self._place.namespace,
            task_queue=TaskQueue(name=self._place.task_queue),
            task_queue_type=TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW,
        )
        answer = await _bounded(
            client.workflow_service.describe_task_queue(
                request, timeout=timedelta(seconds=CALL_S_MAX)
            )
        )
        return bool(answer.pollers)

    async def _connected(self) -> Client:
        async with self._connecting:
            if self._client is None:
                self._client = await connect(self._place, keys=self._keys)
            return self._client


async def connect(place: Place, *, keys: KeySource) -> Client:
    """Connect, through the proxy if there is one.

    Raises:
        UnavailableError: Temporal does not answer now.
    """
    proxy = None
    if place.proxy:
        proxy = HttpConnectProxyConfig(
            target_host=f"unix:{place.proxy}", basic_auth=(place.user, place.password)
        )
    call = Client.connect(
        place.address,
        namespace=place.namespace,
        identity=place.identity,
        data_converter=sealing_converter(keys),
        retry_config=_RETRIES,
        http_connect_proxy_config=proxy,
    )
    return await _bounded(call, within_s=CONNECT_S_MAX)


async def _bounded(call: Awaitable[T], *, within_s: float = CALL_S_MAX) -> T:
    """Wait for a call, and turn its failures into ours.

    Raises:
        UnavailableError: no answer, or one that means that there is none now.
    """
    try:
        return await asyncio.wait_for(call, within_s)
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND:
            raise
        raise _down(error) from error
    except (RPCTimeoutOrCancelledError, TimeoutError) as error:
        raise _down(error) from error
    except RuntimeError as error:
        # How the client's core says that it could not connect.
        raise _down(error) from error


def _down(error: Exception) -> UnavailableError:
    why = error.status.name if isinstance(error, RPCError) else type(error).__name__
    return UnavailableError(f"Temporal does not answer ({why})", retry_after_s=5)
