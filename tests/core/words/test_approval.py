"""The words of approvals."""

from __future__ import annotations

from broker.core.words.approval import (
    MOVES,
    VOTE_REASON_LENGTH_MAX,
    ApprovalState,
    VoteWord,
    may_move,
)


def test_an_approval_ends_in_one_of_five_ways() -> None:
    ends = {state.value for state in ApprovalState} - {"pending"}
    assert ends == {"approved", "rejected", "expired", "withdrawn", "stale"}


def test_a_person_approves_or_rejects_and_a_reason_has_room() -> None:
    assert {word.value for word in VoteWord} == {"approve", "reject"}
    assert len("a sentence or two") <= VOTE_REASON_LENGTH_MAX


def test_an_approval_ends_once_and_only_a_new_policy_undoes_a_yes() -> None:
    ends = {state for state in ApprovalState if state not in MOVES}
    assert ends == {*ApprovalState} - {ApprovalState.PENDING, ApprovalState.APPROVED}
    assert {*MOVES[ApprovalState.PENDING]} == {*ApprovalState} - {ApprovalState.PENDING}
    assert {*MOVES[ApprovalState.APPROVED]} == {ApprovalState.STALE}
    assert may_move(ApprovalState.PENDING, ApprovalState.APPROVED)
    assert not may_move(ApprovalState.EXPIRED, ApprovalState.APPROVED)
