"""How decisions combine, and what a quorum cannot be."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.core.words.decision import (
    Decision,
    Deny,
    Escalate,
    Finding,
    FindingKind,
    Permit,
    Quorum,
    Reason,
    Verdict,
    VerdictWord,
    strictest,
    verdict_rank,
    word_of,
)

WHY = (Reason("x", "x"),)
quorums = st.builds(
    Quorum, st.integers(1, 9), st.sampled_from(["supervisor", "cfo"]), st.integers(1, 9)
)
decisions: st.SearchStrategy[Decision] = st.one_of(
    st.just(Permit()), st.just(Deny(WHY)), st.builds(Escalate, st.just(WHY), quorums)
)
RANK = {"permit": 0, "escalate": 1, "deny": 2}


@given(some=st.lists(decisions, max_size=6).map(tuple))
def test_the_strictest_decision_wins_and_none_at_all_is_a_deny(
    some: tuple[Decision, ...],
) -> None:
    worst = max((RANK[word_of(d)] for d in some), default=2)
    assert RANK[word_of(strictest(some))] == worst


@given(some=st.lists(st.builds(Escalate, st.just(WHY), quorums), min_size=1).map(tuple))
def test_combined_escalations_ask_for_most_people_in_the_least_time(
    some: tuple[Escalate, ...],
) -> None:
    combined = strictest(some)
    assert isinstance(combined, Escalate)
    assert combined.quorum.approvers_min == max(e.quorum.approvers_min for e in some)
    assert combined.quorum.expires_s == min(e.quorum.expires_s for e in some)


@pytest.mark.parametrize(
    ("people", "role", "expires_s"), [(0, "s", 1), (1, "", 1), (1, "s", 0)]
)
def test_a_quorum_of_nobody_cannot_be_said(
    people: int, role: str, expires_s: int
) -> None:
    with pytest.raises(ValueError, match="quorum"):
        Quorum(people, role, expires_s)


def test_a_standing_approval_survives_a_combination_of_permits() -> None:
    combined = strictest((Permit(), Permit(standing_approval="s1")))
    assert combined == Permit(standing_approval="s1")


def test_a_verdict_names_the_argument_in_each_reason() -> None:
    found = Finding(FindingKind.PROVENANCE, "tainted_argument", "/to", "from a note")
    [reason] = Verdict(VerdictWord.HOLD, (found,)).reasons()
    assert reason == Reason("tainted_argument", "/to: from a note")
    ranks = [verdict_rank(word) for word in VerdictWord]
    assert ranks == sorted(ranks)
