"""The rooms of a replica, each put together from settings and keys."""

from __future__ import annotations

import random
from functools import partial
from typing import TYPE_CHECKING

import structlog

from broker.api.console.room import Pulse, Room
from broker.api.identity.desk import Desk as IdentityDesk
from broker.core.identity.target import origin_of
from broker.effects.clock import RandomIds, SystemClock
from broker.effects.database import Database
from broker.effects.executor import SocketExecutor
from broker.effects.federation.keys import IssuerKeys
from broker.effects.identities import Identities
from broker.effects.keeping.identity_past import IdentityPast
from broker.effects.keeping.notices import PostgresNotices
from broker.effects.keeping.restored import Restored
from broker.effects.keeping.tickets import Tickets
from broker.effects.keeping.vigilance import PostgresVigil
from broker.effects.keys import own_keys
from broker.effects.ledger import CheckpointKeeper, PostgresLedger, SignerClient
from broker.effects.limits.rates import (
    ProcessCounter,
    SqlCounter,
    ValkeyCounter,
    ValkeyRates,
    valkey_client,
)
from broker.effects.process.confinement import Confinement
from broker.effects.registry import Registry
from broker.effects.replay import ReplayMemory, Valkey
from broker.effects.scribe import Scribe
from broker.effects.temporal.client import Place, Timekeeper
from broker.effects.temporal.keyfile import CODEC_FILE, CodecFile
from broker.effects.votes import Votes
from broker.ports.notices import Mailroom
from broker.registry.authority import Realm
from broker.wiring.keys import KeyTender, signing_ring

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from broker.core.jwk import PrivateKey, PublicKey
    from broker.effects.keys import KeyRing
    from broker.effects.shelf import CatalogShelf
    from broker.effects.vault import PayloadVault
    from broker.ports import Ports
    from broker.settings import Settings

_log = structlog.get_logger("broker")

# Callers that wait for the log must not hold the connections that it needs.
LEDGER_CONNECTIONS = 4


def log_room(
    settings: Settings, keys: KeyRing, clock: SystemClock, *, logbook: Database
) -> tuple[PostgresLedger, CheckpointKeeper, Scribe]:
    """Put the log together: who writes it, who has it signed, who signs entries."""
    ledger = PostgresLedger(logbook, keys=lambda: keys.entries, alarm=alarm)
    scribe_of: list[Scribe] = []
    keeper = CheckpointKeeper(
        ledger,
        logbook,
        SignerClient(settings.signer_socket),
        alarm=alarm,
        on_new_origin=lambda new: scribe_of[0].origin(
            new,
            at=clock.now(),
            place=(settings.tenant, settings.environment, settings.part),
        ),
    )
    scribe = Scribe(ledger, key=keys.entry_file, keeper=keeper)
    scribe_of.append(scribe)
    return ledger, keeper, scribe


def identity(  # noqa: PLR0913  (rooms, by name)
    settings: Settings,
    keys: KeyRing,
    ports: Ports,
    *,
    database: Database,
    registry: Registry,
    replay: ReplayMemory,
) -> tuple[IdentityDesk, KeyTender]:
    """Put together what establishing a caller needs, and who looks after its keys."""
    ring = signing_ring(settings, keys, ports, database=database, registry=registry)
    desk = IdentityDesk(
        issuer=settings.issuer,
        origins=frozenset(origin_of(origin) for origin in settings.origins),
        tenant=settings.tenant,
        environment=settings.environment,
        replica=settings.part,
        clock=ports.clock,
        ids=ports.ids,
        keys=ring,
        identities=Identities(database, registry),
        proofs=replay,
        replay=replay,
        registry=registry,
        interactions=ports.store,
        journal=ports.journal,
        past=IdentityPast(database, keys.entries),
        tools=tuple(ports.shelf.tools()),
        issuers=IssuerKeys(),
        own_keys=partial(own_keys, settings.state / "broker"),
    )
    return desk, KeyTender(settings, desk, ring)


def console_keys(settings: Settings, keys: KeyRing) -> list[PrivateKey]:
    """Return what signs votes for who is signed in at the console: not in production.

    Links in mails are signed everywhere: what they lead to can only say no (`votes`).
    """
    return [keys.console] if settings.stamp == "demo" else []


def votes(
    kept: tuple[Database, PayloadVault, Registry, Scribe],
    signers: list[PrivateKey],
    *,
    links: PublicKey,
    changed: Callable[[], None],
) -> Votes:
    """Put together where approvals and votes are kept.

    ``signers`` sign for people; ``links`` verifies what a link in a mail led to.
    """
    database, vault, people, entries = kept
    return Votes(
        database,
        vault=vault,
        people=people,
        entries=entries,
        changed=changed,
        console=[key.public() for key in signers],
        links=[links],
    )


def restored(
    database: Database, registry: Registry, keeper: CheckpointKeeper, scribe: Scribe
) -> Restored:
    """Return what is shut after a restore; who asks whether to decide hears of it."""
    gate = Restored(database, registry, origins=keeper, entries=scribe)
    scribe.gate = gate.require_agreed
    return gate


def vigil(
    kept: tuple[Database, PayloadVault, Registry, Scribe],
) -> PostgresVigil:
    """Put together what canaries need."""
    database, _, registry, entries = kept
    return PostgresVigil(database, registry, entries=entries)


def mailroom(
    settings: Settings,
    keys: KeyRing,
    kept: tuple[Database, PayloadVault, Registry, Scribe],
    courier: SocketExecutor,
) -> Mailroom:
    """Put together what telling people takes."""
    database, vault, registry, entries = kept
    return Mailroom(
        rows=PostgresNotices(
            database, registry, vault=vault, entries=entries, new_id=RandomIds().new
        ),
        courier=courier,
        issuer=settings.issuer,
        tenant=settings.tenant,
        environment=settings.environment,
        link_key=keys.console,
        alarm=alarm,
        chance=random.random,
    )


def console(settings: Settings, ports: Ports, *, database: Database) -> Room:
    """Put together what the console needs."""
    return Room(
        issuer=settings.issuer,
        key=ports.console_key,
        tickets=Tickets(database),
        pulse=Pulse(ports.desk),
    )


def registry(
    settings: Settings, keys: KeyRing, database: Database, *, scribe: Scribe
) -> Registry:
    """Return what keeps the signed rows of this tenant and environment."""
    realm = Realm(
        settings.tenant,
        settings.environment,
        {keys.authority.kid: keys.authority.public()},
    )
    return Registry(database, realm=realm, key=keys.authority, entries=scribe)


def replay(settings: Settings, database: Database, clock: SystemClock) -> ReplayMemory:
    """Return what remembers proofs, in Valkey and behind it in PostgreSQL."""
    return ReplayMemory(
        database,
        valkey=Valkey(settings.redis_url, password=settings.redis_password or None),
        clock=clock,
    )


def executor(
    told: Settings, keys: KeyRing, shelf: CatalogShelf, scribe: Scribe
) -> SocketExecutor:
    """Return the way to the runner; it tells of the sandbox that it finds."""
    whose = (told.tenant, told.environment, told.part)
    made = (SystemClock(), RandomIds())
    known = Confinement(shelf, scribe, *made, whose=whose, alarm=alarm)
    return SocketExecutor(
        told.runner_tls or told.runner_socket,
        issuer=told.issuer,
        key=keys.warrant_file,
        receipt_key=told.receipt_key,
        consequential=known.consequential,
        on_sandbox=known.record,
    )


def databases(settings: Settings) -> tuple[Database, Database]:
    """Return a pool for requests and one for the log; nothing is opened yet."""
    url, password = settings.database_url, settings.database_password
    return (
        Database(url, password=password),
        Database(url, password=password, pool_max=LEDGER_CONNECTIONS),
    )


def timekeeper(settings: Settings) -> Timekeeper:
    """Return the way to Temporal."""
    place = Place(
        address=settings.temporal_address,
        namespace=settings.temporal_namespace,
        task_queue=settings.temporal_task_queue,
        identity=settings.part,
        proxy=settings.temporal_proxy,
        user=settings.temporal_proxy_user,
        password=settings.temporal_password,
    )
    return Timekeeper(place, keys=codec(settings))


def codec(settings: Settings) -> CodecFile:
    """Return the keys of what goes to Temporal, as their file says at any moment."""
    return CodecFile(settings.state / "broker" / CODEC_FILE)


def rates(settings: Settings, database: Database) -> ValkeyRates:
    """Return what counts calls, with what counts them while Valkey is away."""
    client = valkey_client(settings.redis_url, password=settings.redis_password or None)
    return ValkeyRates(
        ValkeyCounter(client), sql=SqlCounter(database), process=ProcessCounter()
    )


def alarm(word: str, more: Mapping[str, object]) -> None:
    """Tell the operators of what must not wait."""
    _log.error("alarm", alarm=word, **more)
