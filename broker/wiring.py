"""The composition root: which adapter stands behind which port, and what runs beside.

One replica serves HTTP on one event loop. Beside it run: the ledger's sweep, the
checkpoint keeper, the sweeper of interrupted actions and the outbox to Temporal.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog
import uvicorn

from broker.api.app import Lifespan, create_app
from broker.api.console.room import Pulse, Room
from broker.api.identity.desk import Desk as IdentityDesk
from broker.core.identity.target import origin_of
from broker.effects.authority import SignedAuthority
from broker.effects.clock import RandomIds, SystemClock
from broker.effects.database import Database
from broker.effects.executor import SocketExecutor
from broker.effects.identities import Identities
from broker.effects.keeping.edge_events import EdgeEvents
from broker.effects.keeping.handles import PostgresHandles
from broker.effects.keeping.store import PostgresStore
from broker.effects.keeping.tickets import Tickets
from broker.effects.keeping.unknown import PostgresUnknown
from broker.effects.keys import KeyRing, load_keys
from broker.effects.ledger import CheckpointKeeper, PostgresLedger, SignerClient
from broker.effects.limits.books import Books
from broker.effects.limits.rates import (
    ProcessCounter,
    SqlCounter,
    ValkeyCounter,
    ValkeyRates,
    valkey_client,
)
from broker.effects.policies import policy_reader, policy_room
from broker.effects.process.confinement import Confinement
from broker.effects.registry import Registry
from broker.effects.replay import ReplayMemory, Valkey
from broker.effects.scribe import Scribe
from broker.effects.shelf import CatalogShelf
from broker.effects.temporal.client import Place, Timekeeper
from broker.effects.temporal.keyfile import CODEC_FILE, load_codec_keys
from broker.effects.temporal.outbox import Outbox
from broker.effects.vault import PayloadVault
from broker.effects.votes import Votes
from broker.ports import Ports
from broker.registry.authority import Realm
from broker.settings import read_settings
from broker.sweeper import sweep_for_ever

if TYPE_CHECKING:
    import socket
    from collections.abc import AsyncIterator, Mapping

    from fastapi import FastAPI

    from broker.core.jwk import PrivateKey
    from broker.settings import Settings

# Callers that wait for the log must not hold the connections that it needs.
LEDGER_CONNECTIONS = 4
CALLS_MAX = 1_000
SHUTDOWN_GRACE_S = 6
NOT_STARTED = 3
_log = structlog.get_logger("broker")


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


@dataclass(frozen=True, slots=True)
class Replica:
    """Everything one replica is made of."""

    settings: Settings
    keys: KeyRing
    database: Database
    logbook: Database
    ledger: PostgresLedger
    keeper: CheckpointKeeper
    rates: ValkeyRates
    replay: ReplayMemory
    executor: SocketExecutor
    outbox: Outbox
    ports: Ports
    identity: IdentityDesk
    console: Room


def build(settings: Settings) -> Replica:
    """Put the adapters together; nothing is opened yet."""
    keys = load_keys(settings.state / "broker")
    clock, ids = SystemClock(), RandomIds()
    database = _database(settings)
    logbook = _database(settings, pool_max=LEDGER_CONNECTIONS)
    ledger, keeper, scribe = _log_room(settings, keys, clock, logbook=logbook)
    registry = _registry(settings, keys, database, scribe=scribe)
    shelf = CatalogShelf(settings.catalog)
    vault = PayloadVault(database, kek=keys.payload_kek)
    replay, rates = _replay(settings, database, clock), _rates(settings, database)
    executor = _executor(settings, keys, shelf, scribe)
    outbox = Outbox(database, keeper=_timekeeper(settings))
    desk = Votes(
        database,
        vault=vault,
        people=registry,
        entries=scribe,
        changed=outbox.nudge,
        console=[key.public() for key in console_keys(settings, keys)],
    )
    ports = Ports(
        clock=clock,
        ids=ids,
        shelf=shelf,
        authority=SignedAuthority(database, registry, read_policy=policy_reader(shelf)),
        rates=rates,
        handles=PostgresHandles(database, vault=vault),
        vault=vault,
        store=PostgresStore(
            database, vault=vault, scribe=scribe, shelf=shelf, votes=desk, clock=clock
        ),
        executor=executor,
        journal=scribe,
        replay=replay,
        desk=desk,
        policies=policy_room(database, vault, scribe, outbox.nudge),
        unknown=PostgresUnknown(database, entries=scribe),
        replica=settings.part,
        tenant=settings.tenant,
        console_key=next(iter(console_keys(settings, keys)), None),
    )
    identity = _identity(
        settings, keys, ports, database=database, registry=registry, replay=replay
    )
    return Replica(
        settings=settings,
        keys=keys,
        database=database,
        logbook=logbook,
        ledger=ledger,
        keeper=keeper,
        rates=rates,
        replay=replay,
        executor=executor,
        outbox=outbox,
        ports=ports,
        identity=identity,
        console=_console(settings, ports, database=database),
    )


def _log_room(
    settings: Settings, keys: KeyRing, clock: SystemClock, *, logbook: Database
) -> tuple[PostgresLedger, CheckpointKeeper, Scribe]:
    """Put the log together: who writes it, who has it signed, who signs entries."""
    ledger = PostgresLedger(
        logbook, keys=lambda: {keys.entry.kid: keys.entry.public()}, alarm=_alarm
    )
    scribe_of: list[Scribe] = []
    keeper = CheckpointKeeper(
        ledger,
        logbook,
        SignerClient(settings.signer_socket),
        alarm=_alarm,
        on_new_origin=lambda new: scribe_of[0].origin(
            new,
            at=clock.now(),
            place=(settings.tenant, settings.environment, settings.part),
        ),
    )
    scribe = Scribe(ledger, key=keys.entry, keeper=keeper)
    scribe_of.append(scribe)
    return ledger, keeper, scribe


def _identity(  # noqa: PLR0913  (rooms, by name)
    settings: Settings,
    keys: KeyRing,
    ports: Ports,
    *,
    database: Database,
    registry: Registry,
    replay: ReplayMemory,
) -> IdentityDesk:
    """Put together what establishing a caller needs."""
    return IdentityDesk(
        issuer=settings.issuer,
        origins=frozenset(origin_of(origin) for origin in settings.origins),
        tenant=settings.tenant,
        environment=settings.environment,
        replica=settings.part,
        clock=ports.clock,
        ids=ports.ids,
        keys=keys,
        identities=Identities(database, registry),
        proofs=replay,
        replay=replay,
        registry=registry,
        interactions=ports.store,
        journal=ports.journal,
        tools=tuple(ports.shelf.tools()),
    )


def console_keys(settings: Settings, keys: KeyRing) -> list[PrivateKey]:
    """Return none in production: there the broker signs for nobody."""
    return [keys.console] if settings.stamp == "demo" else []


def _console(settings: Settings, ports: Ports, *, database: Database) -> Room:
    return Room(
        issuer=settings.issuer,
        key=ports.console_key,
        tickets=Tickets(database),
        pulse=Pulse(ports.desk),
    )


def _registry(
    settings: Settings, keys: KeyRing, database: Database, *, scribe: Scribe
) -> Registry:
    realm = Realm(
        settings.tenant,
        settings.environment,
        {keys.authority.kid: keys.authority.public()},
    )
    return Registry(database, realm=realm, key=keys.authority, entries=scribe)


def _replay(settings: Settings, database: Database, clock: SystemClock) -> ReplayMemory:
    return ReplayMemory(
        database,
        valkey=Valkey(settings.redis_url, password=settings.redis_password or None),
        clock=clock,
    )


def _executor(
    told: Settings, keys: KeyRing, shelf: CatalogShelf, scribe: Scribe
) -> SocketExecutor:
    whose = (told.tenant, told.environment, told.part)
    made = (SystemClock(), RandomIds())
    known = Confinement(shelf, scribe, *made, whose=whose, alarm=_alarm)
    return SocketExecutor(
        told.runner_tls or told.runner_socket,
        issuer=told.issuer,
        key=keys.warrant,
        receipt_key=told.receipt_key,
        consequential=known.consequential,
        on_sandbox=known.record,
    )


def _lifespan(settings: Settings) -> Lifespan:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        replica = build(settings)
        app.state.ports = replica.ports
        app.state.desk = replica.identity
        app.state.books = Books(
            replica.database,
            replica.ledger,
            key=replica.keys.entry,
            keeper=replica.keeper,
        )
        app.state.issuer = settings.issuer
        app.state.console = replica.console
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
        await replica.outbox.start()
        stack.push_async_callback(replica.outbox.close)
        scribe = Scribe(replica.ledger, key=replica.keys.entry, keeper=replica.keeper)
        events = EdgeEvents(
            replica.database, replica.ports, scribe=scribe, told=replica.settings
        )
        sweeping = sweep_for_ever(replica.ports, beside=(events.record_new,))
        sweeper = asyncio.create_task(sweeping, name="sweeper")
        stack.push_async_callback(_cancelled, sweeper)
        yield


async def _finish(tasks: set[asyncio.Task[object]]) -> None:
    """Give actions under way the time that is left; their leases cover the rest."""
    if tasks:
        await asyncio.wait(tasks, timeout=SHUTDOWN_GRACE_S)


async def _cancelled(task: asyncio.Task[None]) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


def _database(settings: Settings, *, pool_max: int | None = None) -> Database:
    more = {} if pool_max is None else {"pool_max": pool_max}
    return Database(settings.database_url, password=settings.database_password, **more)


def _timekeeper(settings: Settings) -> Timekeeper:
    place = Place(
        address=settings.temporal_address,
        namespace=settings.temporal_namespace,
        task_queue=settings.temporal_task_queue,
        identity=settings.part,
        proxy=settings.temporal_proxy,
        user=settings.temporal_proxy_user,
        password=settings.temporal_password,
    )
    return Timekeeper(
        place, keys=load_codec_keys(settings.state / "broker" / CODEC_FILE)
    )


def _rates(settings: Settings, database: Database) -> ValkeyRates:
    client = valkey_client(settings.redis_url, password=settings.redis_password or None)
    return ValkeyRates(
        ValkeyCounter(client), sql=SqlCounter(database), process=ProcessCounter()
    )


def _alarm(word: str, more: Mapping[str, object]) -> None:
    _log.error("alarm", alarm=word, **more)
