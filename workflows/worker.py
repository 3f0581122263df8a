"""The worker process: runs approvals' workflows and their questions to the broker.

It holds its own client key and the codec key, and has no database. It may be killed at
any time: what it was doing is done again by another, or by itself.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import uuid4

from temporalio.api.enums.v1 import TaskQueueType
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import DescribeTaskQueueRequest
from temporalio.client import Client
from temporalio.service import HttpConnectProxyConfig, RPCError
from temporalio.worker import Worker

from workflows.activities import BrokerActivities
from workflows.approval import Approval
from workflows.broker import Broker, Identity, http_client
from workflows.codec import sealing_converter
from workflows.rotation import Rotation
from workflows.schedules import keep_schedules
from workflows.settings import Settings, SettingsError, read_settings

CONNECT_S_MAX: Final = 5.0
CONNECT_AGAIN_S: Final = 0.5
POLLERS_EVERY_S: Final = 0.1
GRACE_S: Final = 5
"""What is under way gets so long to end; it is repeated elsewhere if it does not."""

STICKY_S: Final = 2
"""A run that this worker does not take up again in time may be taken by another."""

CACHED_RUNS_MAX: Final = 200
RUNS_AT_ONCE_MAX: Final = 20
QUESTIONS_AT_ONCE_MAX: Final = 32

# How the client says that Temporal will not have it: nearly always the namespace.
_UNFIT = "Worker validation failed"
_KINDS = (
    TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW,
    TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY,
)
_log = logging.getLogger("worker")


def make_worker(client: Client, settings: Settings, broker: Broker) -> Worker:
    """Return the worker with everything that it runs."""
    return Worker(
        client,
        task_queue=settings.temporal_task_queue,
        workflows=[Approval, Rotation],
        activities=BrokerActivities(broker).all(),
        max_cached_workflows=CACHED_RUNS_MAX,
        sticky_queue_schedule_to_start_timeout=timedelta(seconds=STICKY_S),
        max_concurrent_workflow_tasks=RUNS_AT_ONCE_MAX,
        max_concurrent_activities=QUESTIONS_AT_ONCE_MAX,
        graceful_shutdown_timeout=timedelta(seconds=GRACE_S),
    )


async def connect(settings: Settings) -> Client:
    """Connect to Temporal, through the proxy if there is one.

    Raises:
        RuntimeError: It does not answer.
        TimeoutError: Likewise.
    """
    proxy = None
    if settings.temporal_proxy:
        proxy = HttpConnectProxyConfig(
            target_host=f"unix:{settings.temporal_proxy}",
            basic_auth=(settings.temporal_user, settings.temporal_password),
        )
    call = Client.connect(
        settings.temporal_address,
        namespace=settings.temporal_namespace,
        identity=f"{settings.part}:{os.getpid()}",
        data_converter=sealing_converter(settings.codec_keys),
        http_connect_proxy_config=proxy,
    )
    return await asyncio.wait_for(call, CONNECT_S_MAX)


async def serve(settings: Settings, stop: asyncio.Event) -> None:
    """Work until told to stop."""
    identity = Identity(
        client_id=settings.client_id,
        key=settings.client_key,
        issuer=settings.issuer,
        now=lambda: datetime.now(UTC),
        new_id=lambda: str(uuid4()),
    )
    client = await _connected(settings, stop)
    if client is None:
        return
    async with http_client() as http:
        broker = Broker(settings.broker_urls, identity=identity, http=http)
        worker = make_worker(client, settings, broker)
        await keep_schedules(client, task_queue=settings.temporal_task_queue)
        working = asyncio.create_task(worker.run(), name="worker")
        announcing = asyncio.create_task(_announced(client, settings), name="ready")
        stopping = asyncio.create_task(stop.wait(), name="stop")
        try:
            await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if stop.is_set():
                await worker.shutdown()
            await working
        finally:
            for task in (announcing, stopping):
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task


async def _connected(settings: Settings, stop: asyncio.Event) -> Client | None:
    """Connect, however long Temporal takes to come up; None if told to stop."""
    while not stop.is_set():
        try:
            return await connect(settings)
        except (RuntimeError, TimeoutError, RPCError) as error:
            _log.warning("temporal_waits %s", type(error).__name__)
        with suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), CONNECT_AGAIN_S)
    return None


async def _announced(client: Client, settings: Settings) -> None:
    """Say that this worker is ready, once Temporal sees that it polls."""
    while not await _polls(client, settings):  # noqa: ASYNC110  (it tells nobody)
        await asyncio.sleep(POLLERS_EVERY_S)
    if settings.ready_file is not None:
        settings.ready_file.touch(mode=0o600)
    _log.warning("worker_ready %s", client.identity)


async def _polls(client: Client, settings: Settings) -> bool:
    for kind in _KINDS:
        request = DescribeTaskQueueRequest(
            namespace=settings.temporal_namespace,
            task_queue=TaskQueue(name=settings.temporal_task_queue),
            task_queue_type=kind,
        )
        try:
            answer = await client.workflow_service.describe_task_queue(request)
        except RPCError:
            return False
        if client.identity not in {poller.identity for poller in answer.pollers}:
            return False
    return True


async def _main(settings: Settings) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await serve(settings, stop)


def main() -> None:
    """Run the worker until it is stopped."""
    logging.basicConfig(level=logging.WARNING, format="%(name)s %(message)s")
    try:
        settings = read_settings()
    except SettingsError as error:
        sys.exit(str(error))
    try:
        asyncio.run(_main(settings))
    except RuntimeError as error:
        if _UNFIT not in str(error):
            raise
        sys.exit(
            f"Temporal at {settings.temporal_address} refuses this worker; it needs "
            f"a namespace named {settings.temporal_namespace!r} there"
        )
    sys.stdout.flush()
    sys.stderr.flush()
    # The client's native threads may outlive the interpreter's lock and abort.
    os._exit(0)


if __name__ == "__main__":
    main()
