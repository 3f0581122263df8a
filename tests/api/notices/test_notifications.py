"""Who is told, over HTTP: added by security, tried out, removed, no address shown."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest_asyncio

from broker.core.notices.schedule import PER_HOUR_MAX
from broker.core.words.notice import NoticeForm
from broker.notices.post import post
from broker.registry.notices.subscriptions import MAILS_MAX, SUBSCRIPTIONS_MAX
from tests.support.approvals.office import Office, open_office
from tests.support.approvals.voters import large_refund
from tests.support.flow.house import PEOPLE, open_house
from tests.support.notices.mailrooms import LATER, FakeCourier

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

PATH = "/v1/admin/notifications"
HOOK: dict[str, Any] = {"form": "event", "connector": "notify_ops"}
MAIL: dict[str, Any] = {
    "form": "mail",
    "connector": "notify_mail",
    "person": PEOPLE["alice"],
    "address": "alice@shop.test",
}


@pytest_asyncio.fixture
async def office(pg_broker_dsn: str, pg_dsn: str) -> AsyncIterator[Office]:
    async with (
        open_house(pg_broker_dsn, owner_dsn=pg_dsn) as house,
        open_office(house) as opened,
    ):
        yield opened


async def test_somebody_is_told_until_they_are_removed(office: Office) -> None:
    house, room = office.house, office.app.state.mailroom
    courier = room.courier
    assert isinstance(courier, FakeCourier)
    added = await office.call("carol", "POST", PATH, json=MAIL)
    assert added.status_code == 201, added.text
    one = added.json()["subscription"]
    listed = await office.call("carol", "GET", PATH)
    assert [row["subscription"] for row in listed.json()["subscriptions"]] == [one]
    assert "shop.test" not in added.text + listed.text
    tried = await office.call("carol", "POST", f"{PATH}/{one}/test")
    assert tried.json()["state"] == "taken"
    courier.says = [LATER]
    tried = await office.call("carol", "POST", f"{PATH}/{one}/test")
    assert (tried.json()["state"], tried.json()["status"]) == ("later", 503)
    await large_refund(house)
    await post(house.ports, room)
    assert courier.orders[-1].to == "alice@shop.test"
    assert courier.orders[-1].form is NoticeForm.MAIL
    why = {"reason": "left the team"}
    gone = await office.call("carol", "POST", f"{PATH}/{one}/remove", json=why)
    assert gone.json()["active"] is False
    # What was ordered for it before is void at the edge.
    assert await room.rows.epochs(one) == ((f"subscription:{one}", 1),)
    again = await office.call("carol", "POST", f"{PATH}/{one}/remove", json=why)
    assert again.status_code == 404
    sent = len(courier.orders)
    await large_refund(house)
    await post(house.ports, room)
    assert len(courier.orders) == sent


async def test_everybody_names_their_own_address_and_nobody_elses(
    office: Office,
) -> None:
    other = MAIL | {"person": PEOPLE["bob"]}
    assert (await office.call("alice", "POST", PATH, json=other)).status_code == 403
    added = await office.call("alice", "POST", PATH, json=MAIL)
    assert added.status_code == 201, added.text
    assert added.json()["reject_links"] is True
    for_her = await office.call("carol", "POST", PATH, json=MAIL)
    assert for_her.json()["reject_links"] is False
    one = added.json()["subscription"]
    why = {"reason": "another address"}
    for who, status in (("bob", 403), ("alice", 200), ("alice", 403)):
        gone = await office.call(who, "POST", f"{PATH}/{one}/remove", json=why)
        assert gone.status_code == status
    for _ in range(MAILS_MAX - 2):
        added = await office.call("alice", "POST", PATH, json=MAIL)
        assert added.status_code == 201
    assert (await office.call("alice", "POST", PATH, json=MAIL)).status_code == 409


async def test_what_makes_no_sense_or_is_nobodys_business_is_refused(
    office: Office,
) -> None:
    for body in (
        HOOK | {"connector": "retail"},
        HOOK | {"form": "fax"},
        HOOK | {"kinds": ["test"]},
        HOOK | {"kinds": ["party"]},
        HOOK | {"role": "king"},
        HOOK | {"per_hour": PER_HOUR_MAX + 1},
        HOOK | {"address": "a@shop.test"},
        MAIL | {"address": ""},
        MAIL | {"address": "no address"},
        MAIL | {"person": ""},
        MAIL | {"role": "supervisor"},
        {"form": "event"},
    ):
        answer = await office.call("carol", "POST", PATH, json=body)
        assert answer.status_code == 422, body
    nobody = MAIL | {"person": office.house.ports.ids.new()}
    assert (await office.call("carol", "POST", PATH, json=nobody)).status_code == 404
    for method in ("GET", "POST"):
        answer = await office.call("alice", method, PATH, json=HOOK)
        assert answer.status_code == 403
    listed = await office.call("carol", "GET", PATH)
    assert listed.json() == {"subscriptions": []}
    assert SUBSCRIPTIONS_MAX == 500
