"""The customer confirms as well, through the channel: counted as votes are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from broker import flow
from broker.approving import voting
from broker.core.words.action import ActionState
from broker.core.words.approval import ApprovalState
from broker.core.words.errors import (
    ApprovalStaleError,
    BrokerError,
    ConflictError,
    ForbiddenError,
    NotFoundError,
    UnauthenticatedError,
)
from tests.support.approvals.customers import (
    asks_the_customer,
    confirm,
    said,
    waiting,
)
from tests.support.approvals.voters import (
    LARGE,
    approve,
    change_row,
    large_refund,
    state_of,
    voter,
)
from tests.support.flow.house import CHANNEL_ID, put_row
from tests.support.identities import key_of

if TYPE_CHECKING:
    from tests.support.flow.house import House

ELSEWHERE = "0197a000-0000-7000-8000-0000000000c9"


async def confirmed(house: House, approval_id: str) -> object:
    """Return what the card says of the customer."""
    card = await voting.card(house.ports, voter(house, "bob"), approval_id)
    return card["now"]["customer_confirmed"]


async def rows(house: House) -> int:
    return int(await house.database.value("SELECT count(*) FROM vote"))


async def test_it_is_executed_once_a_supervisor_and_the_customer_said_yes(
    house: House,
) -> None:
    record = await asks_the_customer(house)
    [one] = await waiting(house, record)
    assert (one["approval"], one["digest"]) == (record.approval_id, record.digest)
    assert (one["amount"], one["level_name"]) == ("200.00 USD", "matched")
    counted = await approve(house, "alice", record.approval_id)
    assert counted.state is ApprovalState.PENDING
    assert await confirmed(house, record.approval_id) is False
    action_id = record.request.action_id
    await flow.settle(house.ports, action_id)
    assert house.executor.amounts() == []

    counted = await confirm(house, record, said(house, record))
    assert (counted.state, counted.approved) == (ApprovalState.APPROVED, 1)
    assert await waiting(house, record) == []
    await flow.settle(house.ports, action_id)
    assert house.executor.amounts() == [LARGE]
    entries = await house.entries(action_id)
    votes = [e["detail"] for e in entries if e["kind"] == "approve.vote"]
    assert [v["person"] for v in votes][1] == "customer"
    assert votes[1]["channel"] == CHANNEL_ID
    told = await house.database.value("SELECT count(*) FROM outbox WHERE kind = 'vote'")
    assert told == 2


async def test_the_customer_may_come_first_and_no_claim_keeps_them_waiting(
    house: House,
) -> None:
    record = await asks_the_customer(house)
    await house.ports.queue.claim(
        record.approval_id, person_id=voter(house, "bob").subject_id
    )
    assert (await confirm(house, record, said(house, record))).state == "pending"
    assert await confirmed(house, record.approval_id) is True
    counted = await approve(house, "bob", record.approval_id)
    assert counted.state is ApprovalState.APPROVED


async def test_a_no_of_the_customer_refuses_whoever_signed(house: House) -> None:
    record = await asks_the_customer(house)
    await approve(house, "alice", record.approval_id)
    counted = await confirm(house, record, said(house, record, "reject"))
    assert counted.state is ApprovalState.REJECTED
    after = await flow.settle(house.ports, record.request.action_id)
    assert after is not None
    assert after.outcome is not None
    assert (after.state, after.outcome.detail) == (
        ActionState.REFUSED,
        "the customer said no",
    )
    assert await house.held() == 0
    with pytest.raises(ConflictError):
        await confirm(house, record, said(house, record))


WRONG: list[tuple[dict[str, Any], type[BrokerError]]] = [
    ({"customer": "mia_li_1"}, ForbiddenError),
    ({"digest": "0" * 64}, ApprovalStaleError),
    ({"interaction": ELSEWHERE}, ForbiddenError),
    ({"approval": ELSEWHERE}, NotFoundError),
    ({"verification_level": 1}, ForbiddenError),
    ({"verification_level": 3}, ForbiddenError),
    ({"key": key_of("agent")}, UnauthenticatedError),
    ({"iss": ELSEWHERE}, UnauthenticatedError),
    ({"exp": 1}, UnauthenticatedError),
]


async def test_what_is_not_this_customers_word_on_this_action_counts_for_nothing(
    house: House,
) -> None:
    record = await asks_the_customer(house)
    for claims, error in WRONG:
        for word in ("approve", "reject"):
            with pytest.raises(error):
                await confirm(house, record, said(house, record, word, **claims))
    assert await rows(house) == 0
    assert await confirmed(house, record.approval_id) is False


async def test_one_confirmation_is_reported_once_and_not_of_another_approval(
    house: House,
) -> None:
    record = await asks_the_customer(house)
    text = said(house, record)
    await confirm(house, record, text)
    with pytest.raises(UnauthenticatedError, match="used before"):
        await confirm(house, record, text)
    other = await large_refund(house, LARGE + 1)
    with pytest.raises(ForbiddenError):
        await confirm(house, other, said(house, record))
    with pytest.raises(NotFoundError):
        await confirm(
            house,
            other,
            said(house, record, interaction=other.request.interaction_id),
        )
    assert await rows(house) == 1


async def test_another_channel_has_no_say_even_with_a_key_of_its_own(
    house: House,
) -> None:
    record = await asks_the_customer(house)
    row = await house.registry.get("channel", CHANNEL_ID)
    assert row is not None
    await put_row(house, "channel", ELSEWHERE, dict(row.body))
    with pytest.raises(NotFoundError):
        await confirm(house, record, said(house, record, iss=ELSEWHERE))
    assert await rows(house) == 0


async def test_nobody_is_asked_to_confirm_what_people_sign_alone(house: House) -> None:
    record = await large_refund(house)
    assert await waiting(house, record) == []
    for word in ("approve", "reject"):
        with pytest.raises(ConflictError, match="not asked"):
            await confirm(house, record, said(house, record, word))
    counted = await approve(house, "alice", record.approval_id)
    assert counted.state is ApprovalState.APPROVED


async def test_after_the_expiry_no_confirmation_counts(house: House) -> None:
    record = await asks_the_customer(house)
    await approve(house, "alice", record.approval_id)
    async with house.admin() as owner:
        await owner.execute("UPDATE approval SET expires_at = now()")
    with pytest.raises(ConflictError, match="ended"):
        await confirm(house, record, said(house, record))
    assert await state_of(house, record) is ActionState.PENDING_APPROVAL


async def test_settling_verifies_it_again_from_signed_rows(house: House) -> None:
    record = await asks_the_customer(house)
    await approve(house, "alice", record.approval_id)
    await confirm(house, record, said(house, record))
    row = await house.registry.get("channel", CHANNEL_ID)
    assert row is not None
    await change_row(house, row, status="suspended")
    after = await flow.settle(house.ports, record.request.action_id)
    assert after is not None
    assert after.outcome is not None
    assert (after.state, after.outcome.code) == (
        ActionState.REFUSED,
        "approval_invalid",
    )
    assert house.executor.amounts() == []


async def test_a_row_that_somebody_wrote_is_no_confirmation(house: House) -> None:
    record = await asks_the_customer(house)
    await approve(house, "alice", record.approval_id)
    async with house.admin() as owner:
        await owner.execute(
            "INSERT INTO vote SELECT uuidv7(), approval_id, 'customer', word,"
            " payload_id, at FROM vote"
        )
        await owner.execute("UPDATE approval SET state = 'approved'")
        await owner.execute(
            "UPDATE action SET state = 'ready' WHERE approval_id IS NOT NULL"
        )
    after = await flow.settle(house.ports, record.request.action_id)
    assert after is not None
    assert after.state is ActionState.REFUSED
    assert house.executor.amounts() == []
