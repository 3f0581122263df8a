"""`counterfoil notifications` from a door whose edge is stood in for."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from broker.cli.exits import Exit
from broker.effects.clock import RandomIds, SystemClock
from broker.ports.notices import Address, Mailroom
from broker.registry.notices.subscriptions import parse_subscription
from tests.support.door import PEOPLE, application
from tests.support.identities import ISSUER, key_of
from tests.support.notices.mailrooms import LATER, Alarms, FakeCourier

if TYPE_CHECKING:
    from collections.abc import Sequence

    from broker.core.notices.schedule import Subscription
    from tests.support.identity.served import Desk


class DoorNotices:
    """Subscriptions out of the door's registry; addresses in memory."""

    def __init__(self, registry: Any) -> None:
        self._registry = registry
        self.addresses: dict[str, str] = {}

    async def subscriptions(self) -> Sequence[Subscription]:
        rows = await self._registry.list("subscription")
        return [parse_subscription(row) for row in rows]

    async def epochs(self, subscription_id: str) -> tuple[tuple[str, int], ...]:
        return ((f"subscription:{subscription_id}", 0),)

    async def keep_address(self, person_id: str, address: str) -> Address:
        self.addresses[person_id] = address
        return Address(RandomIds().new(), "0" * 64)

    async def address(self, one: Subscription) -> str:
        return self.addresses[one.person_id]


@pytest.fixture
def courier(desk: Desk) -> FakeCourier:
    stand_in, state = FakeCourier(), application().state
    rows: Any = DoorNotices(desk.door.registry)
    state.ports = SimpleNamespace(ids=RandomIds(), clock=SystemClock())
    state.mailroom = Mailroom(
        rows=rows,
        courier=stand_in,
        issuer=ISSUER,
        tenant="demo",
        environment="dev",
        link_key=key_of("console"),
        alarm=Alarms(),
        chance=lambda: 0.5,
    )
    return stand_in


def test_people_are_added_by_name_listed_tried_out_and_removed(
    desk: Desk, courier: FakeCourier
) -> None:
    mail = ("--form", "mail", "--connector", "notify_mail")
    who = ("--person", "alice", "--address", "alice@shop.test", "--kinds", "asked")
    added = desk.run("notifications", "add", *mail, *who)
    assert added["person"] == PEOPLE["alice"][0]
    assert added["kinds"] == ["asked"]
    hook = desk.run(
        "notifications", "add", "--form", "event", "--connector", "notify_ops"
    )
    text = desk.say("notifications", "list")
    assert added["subscription"] in text
    assert "everything" in text
    assert "shop.test" not in text
    assert desk.say("notifications", "test", added["subscription"]).strip() == "taken"
    assert courier.orders[-1].to == "alice@shop.test"
    courier.says = [LATER]
    desk.run("notifications", "test", hook["subscription"], code=Exit.FAILED)
    for one in (added, hook):
        why = ("--reason", "no longer")
        desk.run("notifications", "remove", one["subscription"], *why)
    assert "nobody is told" in desk.say("notifications", "list")
    desk.run("notifications", "remove", "nobody", code=Exit.NOT_FOUND)
    assert desk.what() == [*["notification.add"] * 2, *["notification.remove"] * 2]


def test_what_the_broker_refuses_is_said_in_one_line(
    desk: Desk, courier: FakeCourier
) -> None:
    wrong = ("--form", "event", "--connector", "retail")
    desk.run("notifications", "add", *wrong, code=Exit.FAILED)
    right = ("--form", "event", "--connector", "notify_ops")
    desk.run("notifications", "add", *right, code=Exit.DENIED, who="alice")
    assert courier.orders == []
