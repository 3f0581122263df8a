"""Voting: one yes, one no, two signatures, and what each leaves behind."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from broker import flow
from broker.approving import ending, listing, voting
from broker.core.words.action import ActionState
from broker.core.words.approval import ApprovalState, VoteWord
from broker.core.words.errors import (
    ApprovalStaleError,
    ConflictError,
    ForbiddenError,
    InvalidError,
    NotFoundError,
)
from tests.support.approvals.voters import (
    LARGE,
    VERY_LARGE,
    approve,
    change_person,
    large_refund,
    look_and_sign,
    reject,
    signed_vote,
    state_of,
    vote,
    voter,
)
from tests.support.flow.house import PEOPLE, House
from tests.support.identities import key_of


async def test_one_supervisors_yes_lets_the_refund_happen_once(house: House) -> None:
    record = await large_refund(house)
    counted = await approve(house, "alice", record.approval_id)
    assert counted.state is ApprovalState.APPROVED
    assert await state_of(house, record) is ActionState.READY
    assert house.executor.amounts() == []
    action_id = record.request.action_id
    settled = await asyncio.gather(
        *(flow.settle(house.ports, action_id) for _ in range(5))
    )
    assert ActionState.DONE in {one.state for one in settled if one}
    assert house.executor.amounts() == [LARGE]
    assert await house.posted() == LARGE
    assert [e["kind"] for e in await house.entries(action_id)] == [
        "authorize.decision",
        "approve.vote",
        "approve.ended",
        "execute.claim",
        "record.outcome",
    ]


@pytest.mark.control("6.3")
async def test_one_no_refuses_and_its_reason_reaches_the_agent(house: House) -> None:
    record = await large_refund(house, VERY_LARGE)
    await approve(house, "alice", record.approval_id)
    counted = await reject(
        house, "bob", record.approval_id, reason="the parcel was delivered"
    )
    assert counted.state is ApprovalState.REJECTED
    after = await flow.settle(house.ports, record.request.action_id)
    assert after is not None
    assert after.state is ActionState.REFUSED
    assert after.outcome is not None
    assert after.outcome.code == "rejected"
    assert after.outcome.detail == "the parcel was delivered"
    assert house.executor.amounts() == []
    assert await house.held() == 0


@pytest.mark.control("6.3")
async def test_a_large_amount_needs_two_people_and_one_twice_is_one(
    house: House,
) -> None:
    record = await large_refund(house, VERY_LARGE)
    for _ in range(3):
        counted = await approve(house, "alice", record.approval_id)
        assert counted.state is ApprovalState.PENDING
        assert counted.approved == 1
    await flow.settle(house.ports, record.request.action_id)
    assert house.executor.amounts() == []
    counted = await approve(house, "bob", record.approval_id)
    assert counted.state is ApprovalState.APPROVED
    await flow.settle(house.ports, record.request.action_id)
    assert house.executor.amounts() == [VERY_LARGE]


async def test_a_yes_can_become_a_no_until_the_quorum_is_reached(house: House) -> None:
    record = await large_refund(house, VERY_LARGE)
    await approve(house, "alice", record.approval_id)
    counted = await reject(house, "alice", record.approval_id)
    assert counted.state is ApprovalState.REJECTED
    with pytest.raises(ConflictError, match="rejected"):
        await approve(house, "bob", record.approval_id)


async def test_an_older_vote_that_arrives_late_does_not_replace_a_newer_one(
    house: House,
) -> None:
    record = await large_refund(house, VERY_LARGE)
    approval_id = record.approval_id
    earlier = house.ports.clock.now() - timedelta(seconds=5)
    late = await look_and_sign(house, "alice", approval_id, VoteWord.REJECT, at=earlier)
    await approve(house, "alice", approval_id)
    with pytest.raises(ConflictError, match="newer"):
        await voting.cast(house.ports, voter(house, "alice"), approval_id, late)
    assert await state_of(house, record) is ActionState.PENDING_APPROVAL


async def test_fifty_duplicates_of_one_vote_are_one_vote(
    house: House, other: House
) -> None:
    record = await large_refund(house, VERY_LARGE)
    approval_id = record.approval_id
    signed = await look_and_sign(house, "alice", approval_id, VoteWord.APPROVE)
    who = voter(house, "alice")
    answers = await asyncio.gather(
        *(
            voting.cast(place.ports, who, approval_id, signed)
            for place in (house, other) * 25
        )
    )
    assert {(a.state, a.approved) for a in answers} == {(ApprovalState.PENDING, 1)}
    async with house.admin() as owner:
        assert await owner.fetchval("SELECT count(*) FROM vote") == 1
        assert (
            await owner.fetchval("SELECT count(*) FROM outbox WHERE kind = 'vote'") == 1
        )


async def test_fifty_different_votes_of_one_person_are_one_signature(
    house: House, other: House
) -> None:
    record = await large_refund(house, VERY_LARGE)
    approval_id = record.approval_id
    who = voter(house, "alice")
    signed = [
        await look_and_sign(house, "alice", approval_id, VoteWord.APPROVE)
        for _ in range(50)
    ]
    # Whichever arrives first counts; later ones of an older second are told so.
    answers = await asyncio.gather(
        *(
            voting.cast(place.ports, who, approval_id, one)
            for place, one in zip((house, other) * 25, signed, strict=True)
        ),
        return_exceptions=True,
    )
    assert any(isinstance(a, voting.Counted) for a in answers)
    assert not [
        a
        for a in answers
        if isinstance(a, Exception) and not isinstance(a, ConflictError)
    ]
    async with house.admin() as owner:
        assert await owner.fetchval("SELECT count(*) FROM vote") == 1
    assert await state_of(house, record) is ActionState.PENDING_APPROVAL


async def test_two_people_who_vote_at_the_same_moment_make_the_quorum(
    house: House, other: House
) -> None:
    for _ in range(5):
        record = await large_refund(house, VERY_LARGE // 2 + 50_000)
        first = await look_and_sign(
            house, "alice", record.approval_id, VoteWord.APPROVE
        )
        second = await look_and_sign(house, "bob", record.approval_id, VoteWord.APPROVE)
        answers = await asyncio.gather(
            voting.cast(house.ports, voter(house, "alice"), record.approval_id, first),
            voting.cast(other.ports, voter(house, "bob"), record.approval_id, second),
        )
        assert sorted(a.state for a in answers) == ["approved", "pending"]
        await ending.withdraw(house.ports, record)


@pytest.mark.parametrize("name", ["carol", "olivia"])
async def test_whoever_has_not_the_role_does_not_even_see_it(
    house: House, name: str
) -> None:
    record = await large_refund(house)
    with pytest.raises(NotFoundError):
        await voting.card(house.ports, voter(house, name), record.approval_id)
    blind = signed_vote(
        name,
        VoteWord.APPROVE,
        approval_id=record.approval_id,
        digest=record.digest,
        at=house.ports.clock.now(),
    )
    with pytest.raises(NotFoundError):
        await voting.cast(house.ports, voter(house, name), record.approval_id, blind)
    assert await listing.pending(house.ports, voter(house, name)) == []


@pytest.mark.control("6.3")
async def test_the_owner_of_the_agent_may_not_sign_for_it_and_the_try_is_logged(
    house: House,
) -> None:
    await change_person(
        house,
        "olivia",
        roles=["owner", "supervisor"],
        approval_limits={"USD": 1_000_000},
    )
    record = await large_refund(house)
    [waiting] = await listing.pending(house.ports, voter(house, "olivia"))
    assert waiting.refusal is not None
    for word in VoteWord:
        with pytest.raises(ForbiddenError, match="owner"):
            await vote(house, "olivia", record.approval_id, word)
    assert await state_of(house, record) is ActionState.PENDING_APPROVAL
    details = [e["detail"] for e in await house.entries(record.request.action_id)]
    assert [d["refused"] for d in details if "refused" in d] == ["approver_barred"] * 2


@pytest.mark.control("6.3")
async def test_nobody_says_yes_above_their_own_limit_but_everybody_may_say_no(
    house: House,
) -> None:
    record = await large_refund(house, 210_000)
    with pytest.raises(ForbiddenError, match="limit"):
        await approve(house, "alice", record.approval_id)
    counted = await reject(house, "alice", record.approval_id, reason="too much")
    assert counted.state is ApprovalState.REJECTED


@pytest.mark.control("6.3")
async def test_a_vote_counts_only_under_the_voters_own_key(house: House) -> None:
    record = await large_refund(house)
    approval_id = record.approval_id
    for key in (key_of("bob"), key_of("agent"), key_of("nobody")):
        with pytest.raises(ForbiddenError, match="not signed by a key"):
            await approve(house, "alice", approval_id, key=key)
    bobs = await look_and_sign(house, "bob", approval_id, VoteWord.APPROVE)
    with pytest.raises(ForbiddenError):
        await voting.cast(house.ports, voter(house, "alice"), approval_id, bobs)
    assert await state_of(house, record) is ActionState.PENDING_APPROVAL


async def test_a_vote_for_one_approval_does_not_count_for_another(
    house: House,
) -> None:
    one, two = await large_refund(house), await large_refund(house, LARGE + 1)
    signed = await look_and_sign(house, "alice", one.approval_id, VoteWord.APPROVE)
    with pytest.raises(ForbiddenError, match="another approval"):
        await voting.cast(house.ports, voter(house, "alice"), two.approval_id, signed)
    with pytest.raises(ApprovalStaleError, match="was signed"):
        await approve(house, "alice", two.approval_id, digest=one.digest)


async def test_what_was_signed_is_what_was_shown(house: House) -> None:
    record = await large_refund(house)
    signed = await look_and_sign(house, "alice", record.approval_id, VoteWord.APPROVE)
    interaction = await house.ports.store.interaction(record.request.interaction_id)
    assert interaction is not None
    await house.say(interaction, "Stop, I have found the parcel!")
    who = voter(house, "alice")
    with pytest.raises(ApprovalStaleError, match="card changed"):
        await voting.cast(house.ports, who, record.approval_id, signed)
    card = await voting.card(house.ports, who, record.approval_id)
    assert [w["text"] for w in card["asked"]["customer_said"]] == [
        "Stop, I have found the parcel!"
    ]
    # A no needs no second look.
    counted = await reject(house, "alice", record.approval_id, shown="f" * 64)
    assert counted.state is ApprovalState.REJECTED


async def test_a_vote_is_for_the_moment_in_which_it_was_made(house: House) -> None:
    record = await large_refund(house)
    now = house.ports.clock.now()
    for wrong in (now - timedelta(seconds=75), now + timedelta(seconds=30)):
        with pytest.raises(InvalidError):
            await approve(house, "alice", record.approval_id, at=wrong)
    assert await state_of(house, record) is ActionState.PENDING_APPROVAL


async def test_a_finding_is_not_waved_through_without_a_word(house: House) -> None:
    record = await large_refund(house, 2_500, to="gift_card_9999999")
    who = voter(house, "alice")
    card = await voting.card(house.ports, who, record.approval_id)
    assert card["reason_needed"]
    assert [(f["argument"], f["value"]) for f in card["asked"]["findings"]] == [
        ("/payment_method_id", "gift_card_9999999")
    ]
    with pytest.raises(InvalidError, match="say why"):
        await approve(house, "alice", record.approval_id, reason=" ")
    counted = await approve(
        house, "alice", record.approval_id, reason="I called the customer"
    )
    assert counted.state is ApprovalState.APPROVED


async def test_the_card_shows_what_it_takes_to_decide(house: House) -> None:
    record = await large_refund(house)
    card = await voting.card(house.ports, voter(house, "alice"), record.approval_id)
    asked = card["asked"]
    assert asked["verb"] == "Refund an amount on an order"
    assert asked["amount"]["text"] == "200.00 USD"
    assert asked["customer"]["name"] == "Noah Brown"
    assert asked["customer"]["ref"] == record.customer_ref
    assert [r["rule"] for r in asked["reasons"]] == ["company.C1"]
    assert asked["agent_reason"] == "the customer asked for it"
    budgets = {b["rule"]: b for b in card["now"]["budgets"]}
    assert budgets["agent-day"]["this"] == LARGE
    assert budgets["agent-day"]["held_by_others"] == 0
    assert not any(b["over"] for b in budgets.values())
    assert card["you"] == {"may_approve": True, "why_not": None}


async def test_the_list_names_what_waits_and_forgets_what_has_ended(
    house: House,
) -> None:
    record = await large_refund(house)
    [waiting] = await listing.pending(house.ports, voter(house, "alice"))
    assert waiting.desk.approval_id == record.approval_id
    assert waiting.refusal is None
    await approve(house, "alice", record.approval_id)
    assert await listing.pending(house.ports, voter(house, "alice")) == []
    with pytest.raises(ConflictError, match="approved"):
        await approve(house, "bob", record.approval_id)


async def test_an_agent_cannot_vote_even_with_a_supervisors_role_in_its_dreams(
    house: House,
) -> None:
    record = await large_refund(house)
    with pytest.raises(ForbiddenError):
        await voting.card(house.ports, house.caller(), record.approval_id)
    with pytest.raises(ForbiddenError):
        await listing.pending(house.ports, house.caller())


async def test_nobody_looks_at_what_does_not_exist(house: House) -> None:
    for approval_id in (house.ports.ids.new(), PEOPLE["alice"]):
        with pytest.raises(NotFoundError):
            await voting.card(house.ports, voter(house, "alice"), approval_id)
        with pytest.raises(NotFoundError):
            await ending.standing(house.ports, approval_id)
