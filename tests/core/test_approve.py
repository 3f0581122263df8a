"""Who must sign, and whether what was signed is exactly this action."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.core.approve import (
    ACTED_ON_S_MAX,
    VOTE_EARLY_S_MAX,
    action_digest,
    asked_of,
    barred,
    carries,
    lapsed,
    latest_votes,
    may_sign,
    roles_at,
    tally,
)
from broker.core.guard import bind
from broker.core.words.action import ActionRecord, Bound, Requester
from broker.core.words.approval import (
    ApprovalRequest,
    ApprovalState,
    Approver,
    Vote,
    VoteWord,
)
from broker.core.words.decision import Deny, Escalate, Permit, Quorum, Reason, Rung
from broker.core.words.money import Money
from tests.support.cases import (
    ACTION_ID,
    AGENT_ID,
    NOW,
    REFUND,
    interaction,
    record,
    request,
    tool,
)

TOOL = tool("orders.refund")
OWNER = "olivia"
DIGEST = "d" * 64
LIMIT = 10_000
TTL = timedelta(hours=1)
ASKED = Escalate(
    (Reason("needs_approval", "a refund needs one supervisor", "refund-one", "C2"),),
    Quorum(1, "supervisor", 3_600),
)
PASSED_ON = Quorum(1, "supervisor", 3_600, ladder=(Rung("compliance", 600),))
NAMES = ("ann", "ben", "cat", "dan")


def person(name: str, **changes: Any) -> Approver:
    made = Approver(name, frozenset({"supervisor"}), {"USD": LIMIT}, active=True)
    return replace(made, **changes)


PEOPLE = {name: person(name) for name in NAMES}


def question(**changes: Any) -> ApprovalRequest:
    made = ApprovalRequest(
        approval_id="a1",
        action_id=ACTION_ID,
        digest=DIGEST,
        quorum=Quorum(2, "supervisor", 3_600),
        amount=Money(LIMIT, "USD"),
        barred=frozenset({OWNER, AGENT_ID}),
        state=ApprovalState.PENDING,
        created_at=NOW,
        expires_at=NOW + TTL,
    )
    return replace(made, **changes)


def cast(name: str, word: VoteWord = VoteWord.APPROVE, **changes: Any) -> Vote:
    made = Vote(
        vote_id=f"v-{name}-{word}",
        approval_id="a1",
        person_id=name,
        word=word,
        digest=DIGEST,
        shown="s" * 64,
        strength="key",
        reason=f"{name} says {word}",
        at=NOW + timedelta(minutes=1),
    )
    return replace(made, **changes)


def decided(votes: list[Vote], **more: Any) -> ApprovalState:
    asked = more.pop("asked", question())
    people = more.pop("people", PEOPLE)
    now = more.pop("now", NOW + timedelta(minutes=2))
    return tally(asked, votes, people=people, now=now).state


votes_of_anybody = st.lists(
    st.builds(
        cast,
        st.sampled_from((*NAMES, OWNER, "stranger")),
        st.sampled_from(VoteWord),
        vote_id=st.uuids().map(str),
        digest=st.sampled_from((DIGEST, "e" * 64)),
        approval_id=st.sampled_from(("a1", "a2")),
        at=st.integers(-120, 4_000).map(lambda s: NOW + timedelta(seconds=s)),
    ),
    max_size=12,
)


# ------------------------------------------------------------------------ the digest


def digested(**changes: Any) -> str:
    """Return the digest of the refund, with something about it changed."""
    arguments = changes.pop("arguments", REFUND)
    manifest = changes.pop("tool", TOOL)
    given = request(arguments, **changes.pop("request", {}))
    return action_digest(
        given,
        tool=manifest,
        bound=changes.pop("bound", bind(TOOL, arguments)),
        customer_ref=changes.pop("customer_ref", "ref"),
        asked=changes.pop("asked", ASKED),
    )


@pytest.mark.parametrize(
    "change",
    [
        {"arguments": REFUND | {"amount_minor_units": 2_501}},
        {"arguments": REFUND | {"payment_method_id": "credit_card_1111111"}},
        {"arguments": REFUND | {"order_id": "W0000001"}},
        {"tool": replace(TOOL, digest="0" * 64)},
        {"tool": replace(TOOL, name="orders.refund2")},
        {"customer_ref": "somebody else"},
        {"bound": Bound(Money(2_500, "EUR"), ())},
        {"bound": Bound(Money(2_501, "USD"), ())},
        {"bound": Bound(None, ())},
        {"request": {"action_id": "another"}},
        {"request": {"interaction_id": "another"}},
        {"asked": replace(ASKED, quorum=Quorum(2, "supervisor", 3_600))},
        {"asked": replace(ASKED, quorum=Quorum(1, "security", 3_600))},
        {"asked": replace(ASKED, quorum=Quorum(1, "supervisor", 3_601))},
        {"asked": replace(ASKED, quorum=Quorum(1, "supervisor", 3_600, remind_s=60))},
        {"asked": replace(ASKED, quorum=PASSED_ON)},
        {"asked": replace(ASKED, quorum=replace(ASKED.quorum, customer=2))},
        {"asked": replace(ASKED, reasons=())},
        {"asked": replace(ASKED, reasons=(Reason("x", "", "refund-one", "C2"),))},
    ],
)
def test_an_approval_for_one_action_does_not_cover_a_changed_one(
    change: dict[str, Any],
) -> None:
    assert digested(**change) != digested()


def test_the_digest_does_not_depend_on_texts_or_on_the_order_of_rules() -> None:
    one, two = Reason("a", "text", "r1", "c"), Reason("b", "text", "r2", "c")
    there = digested(asked=replace(ASKED, reasons=(one, two)))
    reworded = replace(one, text="other words")
    assert digested(asked=replace(ASKED, reasons=(two, reworded))) == there
    assert digested(request={"reason": "the agent says"}) == digested()


def rebuilt(stored: ActionRecord) -> ApprovalRequest | None:
    return asked_of(
        stored,
        tool=TOOL,
        bound=bind(TOOL, REFUND),
        owner=OWNER,
        interaction=interaction(),
    )


def test_what_is_asked_is_rebuilt_from_the_stored_action_alone() -> None:
    stored = record(asked=ASKED, approval_id="a1")
    asked = rebuilt(stored)
    assert asked is not None
    assert asked.digest == digested()
    assert asked.quorum == ASKED.quorum
    assert asked.amount == Money(2_500, "USD")
    assert asked.barred == {OWNER, AGENT_ID}
    assert (asked.created_at, asked.expires_at) == (NOW, NOW + TTL)
    for nothing in (replace(stored, asked=None), replace(stored, approval_id="")):
        assert rebuilt(nothing) is None


def test_signatures_are_carried_only_if_nothing_new_is_asked() -> None:
    finding = Reason("tainted_argument", "from a note")
    assert carries(ASKED, Permit())
    assert carries(ASKED, ASKED)
    assert carries(replace(ASKED, reasons=(*ASKED.reasons, finding)), ASKED)
    assert not carries(ASKED, replace(ASKED, reasons=(*ASKED.reasons, finding)))
    assert not carries(ASKED, replace(ASKED, quorum=Quorum(2, "supervisor", 3_600)))
    assert not carries(ASKED, Deny((finding,)))


# ----------------------------------------------------------------------- who may sign


@given(amount=st.integers(1, 3 * LIMIT), limit=st.integers(0, 2 * LIMIT))
def test_nobody_approves_more_than_their_own_limit(amount: int, limit: int) -> None:
    asked = question(amount=Money(amount, "USD"))
    refusal = may_sign(person("ann", limits={"USD": limit}), asked, at=NOW)
    assert (refusal is None) == (amount <= limit)
    rejects = may_sign(
        person("ann", limits={"USD": limit}), asked, at=NOW, word=VoteWord.REJECT
    )
    assert rejects is None


def test_a_limit_in_one_currency_is_none_in_another() -> None:
    asked = question(amount=Money(1, "EUR"))
    assert may_sign(person("ann"), asked, at=NOW) is not None
    assert may_sign(person("ann"), question(amount=None), at=NOW) is None


@pytest.mark.control("6.3")
@pytest.mark.parametrize("word", list(VoteWord))
@pytest.mark.parametrize(
    ("who", "code"),
    [
        (person(OWNER), "approver_barred"),
        (person(AGENT_ID), "approver_barred"),
        (person("ann", active=False), "approver_inactive"),
        (person("ann", roles=frozenset({"security"})), "approver_role"),
        (person("ann", roles=frozenset()), "approver_role"),
    ],
)
def test_owner_requester_and_whoever_lacks_the_role_may_not_sign(
    who: Approver, code: str, word: VoteWord
) -> None:
    refusal = may_sign(who, question(), at=NOW, word=word)
    assert refusal is not None
    assert refusal.code == code


def test_who_asked_the_owner_and_the_author_of_the_policy_are_barred() -> None:
    asked = Requester("r", "i", "k", "g", proof_of_possession=True, epochs=())
    assert barred(owner="o", requester=asked, author="p") == {"o", "r", "p"}
    chained = replace(asked, barred=("parents-owner", "lender"))
    assert barred(owner="o", requester=chained, author="") == {
        "o",
        "r",
        "parents-owner",
        "lender",
    }


def test_a_further_role_may_sign_from_its_time_on_and_the_first_one_still_may() -> None:
    asked = question(quorum=PASSED_ON)
    before, then = NOW + timedelta(seconds=599.9), NOW + timedelta(seconds=600)
    assert roles_at(asked, before) == {"supervisor"}
    assert roles_at(asked, then) == {"supervisor", "compliance"}
    late = person("ann", roles=frozenset({"compliance"}))
    refusal = may_sign(late, asked, at=before)
    assert refusal is not None
    assert refusal.code == "approver_role"
    assert may_sign(late, asked, at=then) is None
    assert may_sign(person("ben"), asked, at=then) is None


def test_a_vote_of_a_further_role_counts_by_when_it_was_made() -> None:
    asked = question(quorum=PASSED_ON)
    people = PEOPLE | {"ann": person("ann", roles=frozenset({"compliance"}))}
    early, good = cast("ann"), cast("ann", at=NOW + timedelta(minutes=10))
    later = NOW + timedelta(minutes=11)
    for votes, state in (([early], "pending"), ([good], "approved")):
        assert decided(votes, asked=asked, people=people, now=later) == state


# ----------------------------------------------------------------------- what it means


@pytest.mark.control("6.3")
@given(votes=votes_of_anybody, quorum=st.integers(1, 4))
def test_an_approval_needs_that_many_different_people_who_may_sign(
    votes: list[Vote], quorum: int
) -> None:
    asked = question(quorum=Quorum(quorum, "supervisor", 3_600))
    found = tally(asked, votes, people=PEOPLE, now=NOW + timedelta(minutes=2))
    if found.state is ApprovalState.APPROVED:
        assert len(set(found.counted)) >= quorum
        assert set(found.counted) <= set(NAMES)
        for name in found.counted:
            last = [v for v in votes if v.person_id == name and _counts(v, asked)]
            newest = max(last, key=lambda v: (v.at, v.vote_id))
            assert newest.word is VoteWord.APPROVE


@given(votes=votes_of_anybody)
def test_one_reject_refuses_however_many_approve(votes: list[Vote]) -> None:
    late = cast("dan", VoteWord.REJECT, at=NOW + timedelta(minutes=59), vote_id="z")
    votes = [v for v in votes if not (v.person_id == "dan" and v.at >= late.at)]
    assert decided([*votes, late]) is ApprovalState.REJECTED


@given(votes=votes_of_anybody, seed=st.randoms())
def test_the_order_of_rows_decides_nothing(votes: list[Vote], seed: Any) -> None:
    mixed = list(votes)
    seed.shuffle(mixed)
    now = NOW + timedelta(minutes=2)
    there = tally(question(), votes, people=PEOPLE, now=now)
    assert tally(question(), mixed, people=PEOPLE, now=now).state is there.state
    assert tally(question(), votes * 2, people=PEOPLE, now=now) == there


def _counts(vote: Vote, asked: ApprovalRequest) -> bool:
    early = asked.created_at - timedelta(seconds=VOTE_EARLY_S_MAX)
    return (
        vote.approval_id == asked.approval_id
        and vote.digest == asked.digest
        and early <= vote.at < asked.expires_at
    )


@given(votes=votes_of_anybody)
def test_votes_for_something_else_or_out_of_time_do_not_exist(
    votes: list[Vote],
) -> None:
    counted = [vote for vote in votes if _counts(vote, question())]
    now = NOW + timedelta(minutes=2)
    there = tally(question(), votes, people=PEOPLE, now=now)
    assert tally(question(), counted, people=PEOPLE, now=now) == there


@pytest.mark.parametrize(
    ("seconds", "counts"),
    [
        (-VOTE_EARLY_S_MAX, True),
        (-VOTE_EARLY_S_MAX - 1, False),
        (0, True),
        (TTL.total_seconds() - 1, True),
        (TTL.total_seconds(), False),
    ],
)
def test_a_vote_counts_from_a_little_before_the_question_until_just_before_its_end(
    seconds: int, *, counts: bool
) -> None:
    vote = cast("ann", at=NOW + timedelta(seconds=seconds))
    found = latest_votes(question(), [vote], people=PEOPLE)
    assert bool(found) is counts


def test_a_person_who_is_no_longer_there_does_not_count() -> None:
    votes = [cast("ann"), cast("ben")]
    assert decided(votes) is ApprovalState.APPROVED
    gone = {name: one for name, one in PEOPLE.items() if name != "ben"}
    assert decided(votes, people=gone) is ApprovalState.PENDING
    idle = PEOPLE | {"ben": person("ben", active=False)}
    assert decided(votes, people=idle) is ApprovalState.PENDING


def test_the_latest_vote_of_a_person_is_the_one_that_counts() -> None:
    later = NOW + timedelta(minutes=2)
    changed = [cast("ann"), cast("ann", VoteWord.REJECT, at=later), cast("ben")]
    assert decided(changed) is ApprovalState.REJECTED
    back = [cast("ann", VoteWord.REJECT), cast("ann", at=later), cast("ben")]
    assert decided(back) is ApprovalState.APPROVED
    # In the same second, the ids (whose first part is time) decide.
    same = [cast("ann", VoteWord.REJECT, vote_id="0"), cast("ann", vote_id="1")]
    assert decided([*same, cast("ben")]) is ApprovalState.APPROVED


def test_an_approval_that_was_reached_in_time_stays_one_after_the_expiry() -> None:
    late = NOW + TTL + timedelta(days=1)
    votes = [cast("ann"), cast("ben")]
    assert decided(votes, now=late) is ApprovalState.APPROVED
    assert decided([cast("ann")], now=late) is ApprovalState.EXPIRED
    assert decided([], now=NOW + TTL) is ApprovalState.EXPIRED
    just = NOW + TTL - timedelta(microseconds=1)
    assert decided([], now=just) is ApprovalState.PENDING


def test_who_rejected_and_why_is_said() -> None:
    found = tally(
        question(), [cast("ann", VoteWord.REJECT)], people=PEOPLE, now=NOW + TTL
    )
    assert (found.rejected_by, found.reason) == ("ann", "ann says reject")


def test_an_approval_is_acted_on_until_a_day_after_its_time() -> None:
    asked = question()
    last = asked.expires_at + timedelta(seconds=ACTED_ON_S_MAX)
    assert not lapsed(asked, now=last - timedelta(seconds=1))
    assert lapsed(asked, now=last)
