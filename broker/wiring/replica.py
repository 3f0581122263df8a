"""One replica: which adapter stands behind which port."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from broker.effects.approvals.queue import PostgresQueue
from broker.effects.authority import SignedAuthority
from broker.effects.clock import RandomIds, SystemClock
from broker.effects.keeping.handles import PostgresHandles
from broker.effects.keeping.store import PostgresStore
from broker.effects.keeping.unknown import PostgresUnknown
from broker.effects.keys import KeyRing, load_keys
from broker.effects.policies import policy_reader, policy_room
from broker.effects.shelf import CatalogShelf
from broker.effects.temporal.outbox import Outbox
from broker.effects.vault import PayloadVault
from broker.ports import Ports
from broker.wiring import rooms

if TYPE_CHECKING:
    from broker.api.console.room import Room
    from broker.api.identity.desk import Desk as IdentityDesk
    from broker.effects.database import Database
    from broker.effects.executor import SocketExecutor
    from broker.effects.keeping.restored import Restored
    from broker.effects.ledger import CheckpointKeeper, PostgresLedger
    from broker.effects.limits.rates import (
        ValkeyRates,
    )
    from broker.effects.replay import ReplayMemory
    from broker.ports.notices import Mailroom
    from broker.ports.vigilance import Vigil
    from broker.settings import Settings
    from broker.wiring.keys import KeyTender


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
    mailroom: Mailroom
    vigil: Vigil
    tender: KeyTender
    restored: Restored


def build(settings: Settings) -> Replica:
    """Put the adapters together; nothing is opened yet."""
    keys = load_keys(settings.state / "broker")
    clock, ids = SystemClock(), RandomIds()
    database, logbook = rooms.databases(settings)
    ledger, keeper, scribe = rooms.log_room(settings, keys, clock, logbook=logbook)
    registry = rooms.registry(settings, keys, database, scribe=scribe)
    shelf = CatalogShelf(settings.catalog)
    vault = PayloadVault(database, kek=keys.payload_kek)
    replay = rooms.replay(settings, database, clock)
    rates = rooms.rates(settings, database)
    executor = rooms.executor(settings, keys, shelf, scribe)
    outbox = Outbox(database, keeper=rooms.timekeeper(settings))
    signers = rooms.console_keys(settings, keys)
    kept = (database, vault, registry, scribe)
    desk = rooms.votes(kept, signers, links=keys.console.public(), changed=outbox.nudge)
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
        queue=PostgresQueue(database, vault=vault, entries=scribe),
        policies=policy_room(database, vault, scribe, outbox.nudge),
        unknown=PostgresUnknown(database, entries=scribe),
        replica=settings.part,
        tenant=settings.tenant,
        console_key=next(iter(signers), None),
    )
    identity, tender = rooms.identity(
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
        console=rooms.console(settings, ports, database=database),
        mailroom=rooms.mailroom(settings, keys, kept, executor),
        vigil=rooms.vigil(kept),
        tender=tender,
        restored=rooms.restored(database, registry, keeper, scribe),
    )
