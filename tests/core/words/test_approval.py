"""The words of approvals."""

from __future__ import annotations

from broker.core.words.approval import VOTE_REASON_LENGTH_MAX, ApprovalState, VoteWord


def test_an_approval_ends_in_one_of_five_ways() -> None:
    ends = {state.value for state in ApprovalState} - {"pending"}
    assert ends == {"approved", "rejected", "expired", "withdrawn", "stale"}


def test_a_person_approves_or_rejects_and_a_reason_has_room() -> None:
    assert {word.value for word in VoteWord} == {"approve", "reject"}
    assert len("a sentence or two") <= VOTE_REASON_LENGTH_MAX
