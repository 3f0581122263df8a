"""What a customer confirms: who counts, for what, and when."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from broker.core.approvals.confirmations import (
    SAID_NO,
    read_confirmation,
    verify_asking,
    verify_confirmation,
)
from broker.core.approve import asked_of, may_confirm, tally
from broker.core.guard import bind
from broker.core.words.approval import (
    CONFIRMATION_TYP,
    CUSTOMER,
    ApprovalRequest,
    ApprovalState,
    Approver,
    Confirmer,
    Vote,
    VoteWord,
)
from broker.core.words.decision import Escalate, Quorum, Reason, strictest_quorum
from broker.core.words.errors import BrokerError, ForbiddenError
from broker.core.words.identity import TURN_TYP, RegisteredKey
from tests.support import cases
from tests.support.channels import CHANNEL, asking, confirmation
from tests.support.identities import CHANNEL_ID, INTERACTION_ID, ISSUER, NOW, key_of

QUORUM = Quorum(1, "supervisor", 3_600, customer=2)
TTL = timedelta(hours=1)
WHO = Confirmer("i1", "c1", "customer-7", 2)
PEOPLE = {
    name: Approver(name, frozenset({"supervisor"}), {}, active=True)
    for name in ("ann", "ben")
}


def asked(**changes: Any) -> ApprovalRequest:
    made = ApprovalRequest(
        approval_id="a1",
        action_id="x1",
        digest="d" * 64,
        quorum=QUORUM,
        amount=None,
        barred=frozenset(),
        state=ApprovalState.PENDING,
        created_at=NOW,
        expires_at=NOW + TTL,
        confirmer=WHO,
    )
    return replace(made, **changes)


def voted(name: str, word: VoteWord = VoteWord.APPROVE, **changes: Any) -> Vote:
    made = Vote(
        vote_id=f"v-{name}",
        approval_id="a1",
        person_id=name,
        word=word,
        digest="d" * 64,
        shown="",
        strength="key",
        reason="",
        at=NOW,
    )
    return replace(made, **changes)


def confirmed(word: VoteWord = VoteWord.APPROVE, **who: Any) -> Vote:
    return voted(CUSTOMER, word, confirms=replace(WHO, **who))


def state(*votes: Vote, of: ApprovalRequest | None = None) -> ApprovalState:
    return tally(of or asked(), votes, people=PEOPLE, now=NOW).state


def test_who_confirms_is_the_customer_of_the_interaction_and_nobody_unasked() -> None:
    tool, where = cases.tool("orders.refund"), cases.interaction()

    def confirmer(quorum: Quorum) -> Confirmer | None:
        found = asked_of(
            cases.record(asked=Escalate((Reason("x", ""),), quorum), approval_id="a1"),
            tool=tool,
            bound=bind(tool, cases.REFUND),
            owner="o",
            interaction=where,
        )
        assert found is not None
        return found.confirmer

    assert confirmer(QUORUM) == Confirmer(
        where.interaction_id, where.channel_id, where.customer_id, 2
    )
    assert confirmer(replace(QUORUM, customer=0)) is None


def test_people_and_the_customer_are_both_needed_and_neither_stands_in() -> None:
    assert state(voted("ann"), voted("ben")) is ApprovalState.PENDING
    assert state(confirmed()) is ApprovalState.PENDING
    assert state(voted("ann"), confirmed()) is ApprovalState.APPROVED
    both = tally(asked(), (voted("ann"), confirmed()), people=PEOPLE, now=NOW)
    assert (both.counted, both.customer) == (("ann",), True)
    no = confirmed(VoteWord.REJECT)
    assert state(voted("ann"), no) is ApprovalState.REJECTED
    late = tally(asked(), (voted("ann"),), people=PEOPLE, now=NOW + TTL)
    assert late.state is ApprovalState.EXPIRED


@pytest.mark.parametrize("word", VoteWord)
@pytest.mark.parametrize(
    "who",
    [
        {"interaction_id": "i2"},
        {"channel_id": "c2"},
        {"customer_id": "customer-8"},
        {"level": 1},
    ],
)
def test_the_word_of_another_customer_counts_neither_for_nor_against(
    who: dict[str, Any], word: VoteWord
) -> None:
    assert state(voted("ann"), confirmed(word, **who)) is ApprovalState.PENDING
    assert may_confirm(replace(WHO, **who), asked()) is not None


def test_a_confirmation_counts_for_its_digest_in_its_time_and_where_it_is_asked() -> (
    None
):
    assert may_confirm(replace(WHO, level=3), asked()) is None
    yes = confirmed()
    for wrong in (
        replace(yes, digest="0" * 64),
        replace(yes, approval_id="a2"),
        replace(yes, at=NOW + TTL),
        replace(yes, at=NOW - TTL),
        replace(yes, confirms=None),
        # A person's vote is no customer's word, nor the other way round.
        replace(yes, person_id="ben"),
    ):
        assert state(voted("ann"), wrong) is ApprovalState.PENDING
    assert state(yes, replace(yes, person_id="ben")) is ApprovalState.PENDING
    unbound = asked(confirmer=replace(WHO, customer_id=""))
    nobody = confirmed(customer_id="")
    assert state(voted("ann"), nobody, of=unbound) is ApprovalState.PENDING
    unasked = asked(quorum=replace(QUORUM, customer=0), confirmer=None)
    no = confirmed(VoteWord.REJECT)
    assert state(no, of=unasked) is ApprovalState.PENDING
    assert state(voted("ann"), yes, of=asked(confirmer=None)) is ApprovalState.PENDING


def test_of_several_rules_the_highest_level_of_the_customer_counts() -> None:
    alone, strong = replace(QUORUM, customer=0), replace(QUORUM, customer=3)
    assert strictest_quorum([alone, QUORUM]).customer == 2
    assert strictest_quorum([strong, QUORUM, alone]).customer == 3
    for level in (-1, 4):
        with pytest.raises(ValueError, match="level"):
            replace(QUORUM, customer=level)


def reported(text: str, *, where: str = INTERACTION_ID, **changes: Any) -> Vote:
    now = changes.pop("now", NOW)
    vote, _ = verify_confirmation(
        text,
        interaction_id=where,
        channel=replace(CHANNEL, **changes),
        issuer=ISSUER,
        now=now,
    )
    return vote


def test_what_a_channel_signed_is_what_the_customer_said() -> None:
    vote = reported(confirmation())
    assert (vote.person_id, vote.word) == (CUSTOMER, VoteWord.APPROVE)
    assert vote.confirms == Confirmer(INTERACTION_ID, CHANNEL_ID, "customer-7", 2)
    assert (vote.typ, vote.at) == (CONFIRMATION_TYP, NOW)
    no = reported(confirmation(verdict="reject"))
    assert (no.word, no.reason) == (VoteWord.REJECT, SAID_NO)
    # Read again it says the same, however much later.
    assert read_confirmation(confirmation(), channel=CHANNEL) == vote


@pytest.mark.parametrize(
    "claims",
    [
        {"key": key_of("agent")},
        {"typ": TURN_TYP},
        {"iss": "0197a000-0000-7000-8000-0000000000c9"},
        {"aud": "https://elsewhere"},
        {"exp": int(NOW.timestamp())},
        {"iat": ...},
        {"interaction": "0197a000-0000-7000-8000-0000000000c9"},
        {"approval": "a1"},
        {"digest": ...},
        {"customer": ""},
        {"verification_level": 3},
        {"verification_level": True},
        {"verdict": "maybe"},
        {"verdict": ["approve"]},
        {"jti": "no-uuid"},
        {"more": 1},
    ],
    ids=str,
)
def test_a_confirmation_that_is_not_exactly_one_is_refused(
    claims: dict[str, Any],
) -> None:
    with pytest.raises(BrokerError) as caught:
        reported(confirmation(**claims))
    assert caught.value.status in {401, 403, 422}


def test_a_key_that_was_not_valid_then_or_is_gone_takes_confirmations_along() -> None:
    old = RegisteredKey(CHANNEL.keys[0].key, not_after=NOW - timedelta(seconds=1))
    for keys in ((), (old,)):
        with pytest.raises(BrokerError):
            read_confirmation(confirmation(), channel=replace(CHANNEL, keys=keys))
    with pytest.raises(ForbiddenError, match="vouch"):
        read_confirmation(confirmation(), channel=replace(CHANNEL, verification_max=1))


def test_what_waits_is_told_to_the_channel_of_the_interaction_only() -> None:
    def ask(text: str, where: str = INTERACTION_ID) -> object:
        return verify_asking(
            text, interaction_id=where, channel=CHANNEL, issuer=ISSUER, now=NOW
        )

    assert ask(asking())
    for wrong in (asking(typ=TURN_TYP), asking(key=key_of("agent")), asking(more=1)):
        with pytest.raises(BrokerError):
            ask(wrong)
    with pytest.raises(ForbiddenError):
        ask(asking(), where="another")
