"""Serving: one replica on one event loop, and what runs beside its requests.

Beside them run: the ledger's sweep, the checkpoint keeper, the sweeper of interrupted
actions, the outbox to Temporal, and the post that tells people.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING

import structlog
import uvicorn

from broker.api.app import Lifespan, create_app
from broker.approving import canaries
from broker.effects.keeping.edge_events import EdgeEvents
from broker.effects.limits.books import Books
from broker.effects.scribe import Scribe
from broker.notices.post import post_for_ever
from broker.settings import read_settings
from broker.sweeper import sweep_for_ever
from broker.wiring import rooms
from broker.wiring.own_keys import OwnKeyTender
from broker.wiring.replica import Replica, build

if TYPE_CHECKING:
    import socket
    from collections.abc import AsyncIterator

    from fastapi import FastAPI

    from broker.settings import Settings

CALLS_MAX = 1_000
SHUTDOWN_GRACE_S = 6
NOT_STARTED = 3


def serve() -> None:
    """Serve until stopped; the entry of ``counterfoil serve``."""
    settings = read_settings()
    log_as_json()
    host, port = settings.listen
    app = create_app(_lifespan(settings))
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=SHUTDOWN_GRACE_S,
        limit_concurrency=CALLS_MAX,
    )
    server = Server(config, app)
    server.run()
    if not server.started:
        sys.exit(NOT_STARTED)


class Server(uvicorn.Server):
    """A server that ends its streams when it stops, rather than waiting for them."""

    def __init__(self, config: uvicorn.Config, app: FastAPI) -> None:
        """Keep the application whose console has the streams."""
        super().__init__(config)
        self._app = app

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Close the streams, then finish what is under way."""
        self._app.state.console.closing.set()
        await super().shutdown(sockets)


def log_as_json() -> None:
    """Write one JSON object per line; no request bodies, tokens or personal data."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
    )
    logging.basicConfig(level=logging.WARNING, format="%(name)s %(message)s")


def _lifespan(settings: Settings) -> Lifespan:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        replica = build(settings)
        app.state.ports = replica.ports
        app.state.desk = replica.identity
        app.state.books = Books(
            replica.database,
            replica.ledger,
            key=replica.keys.entry_file,
            keeper=replica.keeper,
        )
        app.state.restored = replica.restored
        app.state.issuer = settings.issuer
        app.state.codec = rooms.codec(settings)
        app.state.codec_origins = settings.codec_origins
        app.state.console = replica.console
        app.state.mailroom = replica.mailroom
        app.state.vigil = replica.vigil
        app.state.tasks = set()
        async with _running(replica):
            yield
            await _finish(app.state.tasks)

    return lifespan


@asynccontextmanager
async def _running(replica: Replica) -> AsyncIterator[None]:
    """Start what runs beside the requests; stop it in reverse order."""
    async with AsyncExitStack() as stack:
        for database in (replica.database, replica.logbook):
            stack.push_async_callback(database.close)
        stack.push_async_callback(replica.executor.close)
        stack.push_async_callback(replica.replay.close)
        await replica.rates.start()
        stack.push_async_callback(replica.rates.aclose)
        await replica.ledger.start()
        stack.push_async_callback(replica.ledger.close)
        await replica.keeper.start()
        stack.push_async_callback(replica.keeper.close)
        await replica.tender.start()
        stack.push_async_callback(replica.tender.close)
        await replica.outbox.start()
        stack.push_async_callback(replica.outbox.close)
        entry_key = replica.keys.entry_file
        scribe = Scribe(replica.ledger, key=entry_key, keeper=replica.keeper)
        events = EdgeEvents(
            replica.database, replica.ports, scribe=scribe, told=replica.settings
        )
        told = replica.settings
        own = OwnKeyTender(told.state, replica.identity, replica.keys)
        sweeping = sweep_for_ever(
            replica.ports,
            beside=(
                events.record_new,
                replica.tender.tend,
                own.tend,
                partial(canaries.watch, replica.ports, replica.vigil),
            ),
        )
        sweeper = asyncio.create_task(sweeping, name="sweeper")
        stack.push_async_callback(_cancelled, sweeper)
        telling = post_for_ever(replica.ports, replica.mailroom)
        post = asyncio.create_task(telling, name="post")
        stack.push_async_callback(_cancelled, post)
        yield


async def _finish(tasks: set[asyncio.Task[object]]) -> None:
    """Give actions under way the time that is left; their leases cover the rest."""
    if tasks:
        await asyncio.wait(tasks, timeout=SHUTDOWN_GRACE_S)


async def _cancelled(task: asyncio.Task[None]) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
