"""Telling people: what happens to an approval reaches who wants to know, once."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio

from broker import flow
from broker.approving import ending
from broker.core.jwk import Algorithm
from broker.core.notices.bodies import body_of
from broker.core.notices.orders import order_claims
from broker.core.notices.schedule import TRIES_MAX
from broker.core.transparency.entry_leaf import open_entry
from broker.core.words.action import ActionState
from broker.core.words.entry import EntryKind
from broker.core.words.notice import Carried, CarriedState, NoticeForm
from broker.notices.post import (
    CARRIED_AT_ONCE_MAX,
    ORDER_S,
    SPREAD_AT_ONCE_MAX,
    UNDELIVERED,
    post,
    post_for_ever,
)
from tests.support.approvals.voters import LARGE, approve, large_refund
from tests.support.flow.executor import CUSTOMER
from tests.support.flow.house import ISSUER, PEOPLE
from tests.support.identities import key_of
from tests.support.notices.mailrooms import (
    LATER,
    Alarms,
    FakeCourier,
    mailroom,
    subscribe,
    subscribe_mail,
    wait_out,
)

if TYPE_CHECKING:
    from broker.ports.notices import Mailroom
    from tests.support.flow.house import House


@pytest.fixture
def courier() -> FakeCourier:
    return FakeCourier()


@pytest.fixture
def alarms() -> Alarms:
    return Alarms()


@pytest_asyncio.fixture
async def room(house: House, courier: FakeCourier, alarms: Alarms) -> Mailroom:
    return mailroom(house, courier, alarms=alarms)


async def states(house: House) -> list[str]:
    rows = await house.database.rows("SELECT state FROM notice_delivery ORDER BY 1")
    return [row["state"] for row in rows]


async def recorded_alarms(house: House) -> list[dict[str, Any]]:
    key = key_of("entry", Algorithm.EDDSA)
    leaves = await house.database.rows("SELECT leaf FROM audit_entry")
    opened = [open_entry(row["leaf"], {key.kid: key.public()}) for row in leaves]
    return [one["detail"] for one in opened if one["kind"] == EntryKind.ALARM.value]


async def test_what_is_asked_reaches_the_role_and_its_people_and_nobody_else(
    house: House, room: Mailroom, courier: FakeCourier
) -> None:
    await subscribe(house, "all")
    await subscribe(house, "chat", form="chat", role="supervisor")
    await subscribe(house, "other", role="security")
    for name in ("alice", "carol"):
        await subscribe_mail(
            house, room, name, person=PEOPLE[name], address=f"{name}@shop.test"
        )
    record = await large_refund(house)
    await post(house.ports, room)
    assert {(one.form, one.to) for one in courier.orders} == {
        (NoticeForm.EVENT, ""),
        (NoticeForm.CHAT, ""),
        (NoticeForm.MAIL, "alice@shop.test"),
    }
    notices = {one.notice.notice_id for one in courier.orders}
    assert len(notices) == 1
    for one in courier.orders:
        assert one.notice.topic == record.approval_id
        assert one.notice.tool == "orders.refund"
        assert one.notice.link == f"{ISSUER}/console/approvals/{record.approval_id}"
        assert bool(one.notice.reject_link) is (one.form is NoticeForm.MAIL)
        assert (one.expires_at - one.issued_at).total_seconds() == ORDER_S
    assert await post(house.ports, room) == 0
    assert await states(house) == ["taken"] * 3


async def test_no_notice_says_which_customer_is_meant_not_even_by_reference(
    house: House, room: Mailroom, courier: FakeCourier
) -> None:
    await subscribe(house, "all")
    await subscribe(house, "chat", form="chat", role="supervisor")
    await subscribe_mail(
        house, room, "alice", person=PEOPLE["alice"], address="alice@shop.test"
    )
    record = await large_refund(house)
    await post(house.ports, room)
    assert record.customer_ref
    assert len(courier.orders) == 3
    for order in courier.orders:
        said = json.dumps(
            [order_claims(order, issuer=ISSUER), body_of(order, source=ISSUER)]
        )
        assert record.approval_id in said
        for word in (
            CUSTOMER,
            record.customer_ref,
            record.request.interaction_id,
            record.request.reason,
            *map(str, record.request.arguments.values()),
        ):
            assert word in {"USD", str(LARGE)} or word not in said, word


async def test_a_channel_that_is_down_is_tried_again_with_the_same_id_and_then_alarms(
    house: House, room: Mailroom, courier: FakeCourier, alarms: Alarms
) -> None:
    await subscribe(house, "ops")
    record = await large_refund(house)
    courier.says = [LATER] * TRIES_MAX
    for _ in range(TRIES_MAX + 2):
        await post(house.ports, room)
        await wait_out(house)
    assert len(courier.orders) == TRIES_MAX
    assert len({one.notice.notice_id for one in courier.orders}) == 1
    assert len({one.order_id for one in courier.orders}) == TRIES_MAX
    assert alarms.words == [UNDELIVERED]
    assert await states(house) == ["given_up"]
    raised = await recorded_alarms(house)
    assert [(one["alarm"], one["tries"]) for one in raised] == [
        (UNDELIVERED, TRIES_MAX)
    ]
    # The approval went on all the while.
    await approve(house, "alice", record.approval_id)
    done = await flow.settle(house.ports, record.request.action_id)
    assert done is not None
    assert done.state is ActionState.DONE


async def test_it_waits_between_two_tries(
    house: House, room: Mailroom, courier: FakeCourier
) -> None:
    await subscribe(house, "ops")
    await large_refund(house)
    courier.says = [LATER]
    assert await post(house.ports, room) == 1
    assert await post(house.ports, room) == 0
    left = await house.database.value(
        "SELECT extract(epoch FROM next_at - now())::float8 FROM notice_delivery"
    )
    assert 20 < left <= 30


async def test_a_final_no_is_not_sent_again(
    house: House, room: Mailroom, courier: FakeCourier, alarms: Alarms
) -> None:
    await subscribe(house, "ops")
    await large_refund(house)
    courier.says = [Carried(CarriedState.REFUSED, 410, "receiver_refused")]
    await post(house.ports, room)
    await wait_out(house)
    assert await post(house.ports, room) == 0
    assert alarms.words == [UNDELIVERED]


async def test_without_an_edge_everything_goes_on_and_is_sent_later(
    house: House, room: Mailroom, courier: FakeCourier
) -> None:
    await subscribe(house, "ops")
    courier.down = True
    await large_refund(house)
    await post(house.ports, room)
    assert courier.orders == []
    courier.down = False
    await wait_out(house)
    await post(house.ports, room)
    assert len(courier.orders) == 1


async def test_beyond_the_cap_of_an_hour_nothing_is_sent_and_the_next_says_so(
    house: House, room: Mailroom, courier: FakeCourier
) -> None:
    await subscribe(house, "ops", per_hour=2)
    await subscribe(house, "many")
    for _ in range(3):
        await large_refund(house)
    await post(house.ports, room)
    by = [one.epochs[0][0] for one in courier.orders]
    assert sorted(by) == ["subscription:many"] * 3 + ["subscription:ops"] * 2
    async with house.admin() as owner:
        await owner.execute(
            "UPDATE notice_delivery SET made_at = made_at - interval '61 minutes'"
            " WHERE state = 'taken'"
        )
    await large_refund(house)
    await post(house.ports, room)
    last = [one for one in courier.orders if one.epochs[0][0] == "subscription:ops"]
    assert [one.notice.held_back for one in last] == [0, 0, 1]


async def test_what_ended_before_it_was_sent_is_not_sent_any_more(
    house: House, room: Mailroom, courier: FakeCourier
) -> None:
    await subscribe(house, "ops")
    record = await large_refund(house)
    courier.says = [LATER]
    await post(house.ports, room)
    await approve(house, "alice", record.approval_id)
    await wait_out(house)
    assert await post(house.ports, room) == 0
    assert await states(house) == ["moot"]


async def test_an_approval_that_ends_soon_and_then_expires_is_told_once_each(
    house: House, room: Mailroom, courier: FakeCourier
) -> None:
    await subscribe(house, "ops", kinds=["expiring", "expired"])
    record = await large_refund(house)
    async with house.admin() as owner:
        await owner.execute(
            "UPDATE approval SET expires_at = now() + interval '5 minutes',"
            " created_at = now() - interval '1 hour'"
        )
    for _ in range(2):
        await post(house.ports, room)
    async with house.admin() as owner:
        await owner.execute("UPDATE approval SET expires_at = now()")
    await ending.expire_due(house.ports)
    for _ in range(2):
        await post(house.ports, room)
    assert [one.notice.kind.value for one in courier.orders] == ["expiring", "expired"]
    assert {one.notice.topic for one in courier.orders} == {record.approval_id}


async def test_reminders_escalations_and_answers_go_to_whom_they_are_for(
    house: House, room: Mailroom, courier: FakeCourier
) -> None:
    await subscribe(house, "security", role="security", kinds=["escalated"])
    for name in ("alice", "bob"):
        await subscribe_mail(
            house, room, name, person=PEOPLE[name], address=f"{name}@shop.test"
        )
    record = await large_refund(house)
    await post(house.ports, room)
    courier.orders.clear()
    async with house.admin() as owner:
        for kind, role, person in (
            ("reminder", "supervisor", ""),
            ("escalated", "security", ""),
            ("answer", "", PEOPLE["bob"]),
        ):
            await owner.execute(
                "INSERT INTO approval_notice (approval_id, kind, key, role, person_id)"
                " VALUES ($1, $2, $2, $3, $4)",
                record.approval_id,
                kind,
                role,
                person,
            )
    await post(house.ports, room)
    assert sorted((one.notice.kind.value, one.to) for one in courier.orders) == [
        ("answered", "bob@shop.test"),
        ("escalated", ""),
        ("reminder", "alice@shop.test"),
        ("reminder", "bob@shop.test"),
    ]


async def test_an_unknown_outcome_is_told_to_security(
    house: House, room: Mailroom, courier: FakeCourier
) -> None:
    await subscribe(house, "ops", role="security")
    record = await large_refund(house)
    await approve(house, "alice", record.approval_id)
    house.executor.fault = "no_answer"
    await flow.settle(house.ports, record.request.action_id)
    await post(house.ports, room)
    (order,) = courier.orders
    assert order.notice.kind.value == "unknown"
    assert order.notice.topic == record.request.action_id
    assert order.notice.link == f"{ISSUER}/console"


async def test_two_replicas_send_it_once(
    house: House, room: Mailroom, courier: FakeCourier
) -> None:
    await subscribe(house, "ops")
    for _ in range(3):
        await large_refund(house)
    await asyncio.gather(*(post(house.ports, room) for _ in range(4)))
    await post(house.ports, room)
    assert len(courier.orders) == 3
    assert CARRIED_AT_ONCE_MAX < SPREAD_AT_ONCE_MAX


async def test_an_address_is_sealed_and_one_that_was_moved_or_erased_gets_nothing(
    house: House, room: Mailroom, courier: FakeCourier
) -> None:
    for name in ("alice", "bob"):
        await subscribe_mail(
            house, room, name, person=PEOPLE[name], address=f"{name}@shop.test"
        )
    async with house.admin() as owner:
        kept = await owner.fetch(
            "SELECT payload_id, sealed FROM payload WHERE purpose = 'notice'"
        )
        assert not any(b"shop.test" in row["sealed"] for row in kept)
        # Somebody who writes to the table exchanges the two.
        one, two = kept
        await owner.execute(
            "UPDATE payload SET sealed = $1 WHERE payload_id = $2",
            two["sealed"],
            one["payload_id"],
        )
    await large_refund(house)
    await post(house.ports, room)
    assert len(courier.orders) == 1
    assert sorted(await states(house)) == ["refused", "taken"]


async def test_a_row_that_somebody_wrote_to_the_database_gets_nothing(
    house: House, room: Mailroom, courier: FakeCourier
) -> None:
    await subscribe(house, "ops")
    async with house.admin() as owner:
        await owner.execute(
            "INSERT INTO authority (kind, id, revision, jws)"
            " SELECT kind, 'evil', 1, jws FROM authority WHERE kind = 'subscription'"
        )
    await large_refund(house)
    await post(house.ports, room)
    assert [one.epochs[0][0] for one in courier.orders] == ["subscription:ops"]


async def test_old_notices_are_deleted_and_young_ones_kept(
    house: House, room: Mailroom
) -> None:
    for _ in range(2):
        await large_refund(house)
    async with house.admin() as owner:
        await owner.execute(
            "UPDATE notice SET made_at = now() - interval '31 days'"
            " WHERE notice_id = (SELECT notice_id FROM notice LIMIT 1)"
        )
    posting = asyncio.create_task(post_for_ever(house.ports, room))
    try:
        async with asyncio.timeout(20):
            while await house.database.value("SELECT count(*) FROM notice") > 1:  # noqa: ASYNC110
                await asyncio.sleep(0.1)
    finally:
        posting.cancel()
    assert await house.database.value("SELECT count(*) FROM notice") == 1
