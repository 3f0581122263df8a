"""A mailroom on a house's database, with an edge that answers as a test wants."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from broker.core.words.errors import ExecutorUnavailableError
from broker.core.words.notice import Carried, CarriedState
from broker.effects.keeping.notices import PostgresNotices
from broker.effects.scribe import Scribe
from broker.effects.vault import PayloadVault
from broker.ports.notices import Mailroom
from broker.registry.records import Change
from tests.support.flow.house import ENVIRONMENT, ISSUER, TENANT, House
from tests.support.identities import key_of

if TYPE_CHECKING:
    from broker.core.words.notice import NoticeOrder

TAKEN = Carried(CarriedState.TAKEN, 204)
LATER = Carried(CarriedState.LATER, 503, "receiver_refused")


@dataclass
class FakeCourier:
    """It keeps its orders; ``says`` are its next answers, then all is taken."""

    orders: list[NoticeOrder] = field(default_factory=list)
    says: list[Carried] = field(default_factory=list)
    down: bool = False

    async def address(self) -> tuple[str, str]:
        if self.down:
            msg = "nobody is there"
            raise ExecutorUnavailableError(msg)
        return "edge-1", "boot-1"

    async def carry(self, order: NoticeOrder) -> Carried:
        self.orders.append(order)
        return self.says.pop(0) if self.says else TAKEN


@dataclass
class Alarms:
    """What the operators were told."""

    words: list[str] = field(default_factory=list)

    def __call__(self, word: str, more: Mapping[str, object]) -> None:
        self.words.append(word)


def mailroom(house: House, courier: Any, *, alarms: Alarms | None = None) -> Mailroom:
    vault, scribe = house.ports.vault, house.ports.journal
    assert isinstance(vault, PayloadVault)
    assert isinstance(scribe, Scribe)
    rows = PostgresNotices(
        house.database,
        house.registry,
        vault=vault,
        entries=scribe,
        new_id=house.ports.ids.new,
    )
    return Mailroom(
        rows=rows,
        courier=courier,
        issuer=ISSUER,
        tenant=TENANT,
        environment=ENVIRONMENT,
        link_key=key_of("console"),
        alarm=alarms or Alarms(),
        chance=lambda: 0.5,
    )


async def subscribe(
    house: House, name: str, *, by: str = "bootstrap", **changes: Any
) -> None:
    """Put a subscription's row, as a person of security would."""
    body = {
        "form": "event",
        "connector": "notify_ops",
        "role": "",
        "person": "",
        "kinds": [],
        "per_hour": 60,
        "address": "",
        "address_sha256": "",
        "status": "active",
    }
    now = house.ports.clock.now()
    change = Change("subscription", name, body | changes, (by,), now, 0)
    await house.registry.put(change, house.entry())


async def subscribe_mail(
    house: House, room: Mailroom, name: str, *, person: str, address: str, by: str = ""
) -> None:
    """Have a person told by mail, at an address that they named unless told."""
    kept = await room.rows.keep_address(person, address)
    await subscribe(
        house,
        name,
        by=f"person:{by or person}",
        form="mail",
        connector="notify_mail",
        person=person,
        address=kept.payload_id,
        address_sha256=kept.sha256,
    )


async def wait_out(house: House) -> None:
    """Let every pause be over, as time would."""
    async with house.admin() as owner:
        await owner.execute("UPDATE notice_delivery SET next_at = now()")
