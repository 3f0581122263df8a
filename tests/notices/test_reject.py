"""The link in a mail: looking does nothing, pressing rejects once, nothing approves."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import httpx
import pytest

from broker.approving import voting
from broker.core.approvals.links import (
    REJECT_LINK_BYTES_MAX,
    REJECT_LINK_TYP,
    RejectLink,
    link_claims,
)
from broker.core.approvals.votes import vote_claims
from broker.core.jws import sign
from broker.core.words.action import ActionState
from broker.core.words.approval import (
    LINK_STRENGTH,
    LINK_VOTE_TYP,
    VOTE_REASON_LENGTH_MAX,
    Vote,
    VoteWord,
)
from broker.core.words.errors import ForbiddenError
from broker.notices.post import post
from tests.support.approvals.office import Office, open_office
from tests.support.approvals.voters import approve, large_refund, state_of, voter
from tests.support.flow.house import ISSUER, PEOPLE
from tests.support.identities import key_of
from tests.support.notices.mailrooms import FakeCourier, mailroom, subscribe_mail

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from broker.core.words.action import ActionRecord
    from tests.support.flow.house import House

import pytest_asyncio


@pytest_asyncio.fixture
async def office(house: House) -> AsyncIterator[Office]:
    async with open_office(house) as opened:
        yield opened


async def mailed(house: House, name: str = "alice") -> tuple[ActionRecord, str]:
    """Return an action that waits, and the token that this person was mailed."""
    courier = FakeCourier()
    room = mailroom(house, courier)
    await subscribe_mail(house, room, name, person=PEOPLE[name], address="a@shop.test")
    record = await large_refund(house)
    await post(house.ports, room)
    (order,) = courier.orders
    return record, order.notice.reject_link.partition("?t=")[2]


async def test_looking_at_the_link_does_nothing_and_pressing_rejects(
    house: House, office: Office
) -> None:
    record, token = await mailed(house)
    for _ in range(3):
        page = await office.http.get("/console/reject", params={"t": token})
        assert page.status_code == 200
        assert "Nothing has happened yet" in page.text
        assert "orders.refund" in page.text
        assert page.headers["referrer-policy"] == "no-referrer"
    assert await state_of(house, record) is ActionState.PENDING_APPROVAL
    pressed = await office.http.post(
        "/console/reject", data={"t": token, "reason": "not ours"}
    )
    assert "Rejected" in pressed.text
    assert await state_of(house, record) is ActionState.REFUSED
    votes, _ = await house.ports.desk.votes(record.approval_id)
    (vote,) = votes
    assert (vote.strength, vote.typ) == (LINK_STRENGTH, LINK_VOTE_TYP)
    assert vote.person_id == PEOPLE["alice"]
    after = await house.ports.store.action(record.request.action_id)
    assert after is not None
    assert after.outcome is not None
    assert after.outcome.detail == "not ours"
    assert await house.held() == 0


async def test_the_same_link_again_changes_nothing(
    house: House, office: Office
) -> None:
    record, token = await mailed(house)
    answers = [
        await office.http.post("/v1/notices/reject", json={"token": token})
        for _ in range(3)
    ]
    assert answers[0].status_code == 200
    assert answers[0].json()["state"] == "rejected"
    assert {answer.status_code for answer in answers[1:]} <= {200, 409}
    _, seen = await house.ports.desk.votes(record.approval_id)
    assert len(seen) == 1
    page = await office.http.get("/console/reject", params={"t": token})
    assert page.status_code == 409
    assert "has ended" in page.text


async def test_a_link_for_something_else_or_somebody_else_rejects_nothing(
    house: House, office: Office
) -> None:
    record, _ = await mailed(house)
    now = house.ports.clock.now()

    def token(*, key: str = "console", **changes: object) -> str:
        plain = {
            "link_id": house.ports.ids.new(),
            "approval_id": record.approval_id,
            "person_id": PEOPLE["alice"],
            "digest": record.digest,
            "expires_at": now + timedelta(hours=1),
        }
        link = RejectLink(**(plain | changes))  # type: ignore[arg-type]
        return sign(link_claims(link), key=key_of(key), typ=REJECT_LINK_TYP)

    cases = [
        (token(digest="0" * 64), 409),
        (token(person_id=PEOPLE["olivia"]), 404),
        (token(person_id=house.ports.ids.new()), 403),
        (token(approval_id=house.ports.ids.new()), 404),
        (token(expires_at=now - timedelta(seconds=1)), 403),
        (token(key="alice"), 403),
        ("x", 403),
        ("a" * (REJECT_LINK_BYTES_MAX + 1), 422),
    ]
    for wrong, status in cases:
        answer = await office.http.post("/v1/notices/reject", json={"token": wrong})
        assert answer.status_code == status, answer.text
        page = await office.http.post("/console/reject", data={"t": wrong})
        assert page.status_code in {403, 404, 409}
    long = {"token": token(), "reason": "x" * (VOTE_REASON_LENGTH_MAX + 1)}
    assert (await office.http.post("/v1/notices/reject", json=long)).status_code == 422
    assert await state_of(house, record) is ActionState.PENDING_APPROVAL


async def test_the_token_approves_nothing_whatever_is_done_with_it(
    house: House, office: Office
) -> None:
    record, token = await mailed(house)
    path = f"/v1/approvals/{record.approval_id}/votes"
    as_vote = await office.call("alice", "POST", path, json={"vote": token})
    assert as_vote.status_code == 403
    # Even signed with the broker's own key, a yes of this kind is none.
    vote = Vote(
        house.ports.ids.new(),
        record.approval_id,
        PEOPLE["alice"],
        VoteWord.APPROVE,
        record.digest,
        record.digest,
        LINK_STRENGTH,
        "",
        house.ports.clock.now(),
    )
    signed = sign(vote_claims(vote), key=key_of("console"), typ=LINK_VOTE_TYP)
    with pytest.raises(ForbiddenError, match="can reject, and nothing else"):
        await voting.cast(
            house.ports, voter(house, "alice"), record.approval_id, signed
        )
    assert await state_of(house, record) is ActionState.PENDING_APPROVAL


async def test_a_link_cannot_take_back_what_was_approved(
    house: House, office: Office
) -> None:
    record, token = await mailed(house)
    await approve(house, "bob", record.approval_id)
    answer = await office.http.post("/v1/notices/reject", json={"token": token})
    assert answer.status_code == 409
    assert await state_of(house, record) is ActionState.READY


async def test_mail_to_an_address_that_somebody_else_named_can_say_nothing(
    house: House,
) -> None:
    courier = FakeCourier()
    room = mailroom(house, courier)
    for name, by in (("own", "alice"), ("others", "carol")):
        await subscribe_mail(
            house,
            room,
            name,
            person=PEOPLE["alice"],
            address=f"{name}@shop.test",
            by=PEOPLE[by],
        )
    await large_refund(house)
    await post(house.ports, room)
    links = {order.to: bool(order.notice.reject_link) for order in courier.orders}
    assert links == {"own@shop.test": True, "others@shop.test": False}


async def test_whoever_may_not_reject_gets_no_link(house: House) -> None:
    courier = FakeCourier()
    room = mailroom(house, courier)
    await subscribe_mail(
        house, room, "carol", person=PEOPLE["carol"], address="c@shop.test"
    )
    record = await large_refund(house)
    # A notice for carol herself, about what is not her role's.
    async with house.admin() as owner:
        await owner.execute(
            "INSERT INTO notice (kind, topic, person_id) VALUES ('answered', $1, $2)",
            record.approval_id,
            PEOPLE["carol"],
        )
    await post(house.ports, room)
    (order,) = courier.orders
    assert order.notice.reject_link == ""
    assert order.notice.link.startswith(ISSUER)
    assert isinstance(httpx.URL(order.notice.link), httpx.URL)
