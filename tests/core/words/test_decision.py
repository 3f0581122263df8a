"""How decisions combine, and what a quorum cannot be."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.core.words.decision import (
    RUNGS_MAX,
    Decision,
    Deny,
    Escalate,
    Finding,
    FindingKind,
    Permit,
    Quorum,
    Reason,
    Rung,
    Verdict,
    VerdictWord,
    strictest,
    strictest_quorum,
    verdict_rank,
    word_of,
)

WHY = (Reason("x", "x"),)
quorums = st.builds(
    Quorum, st.integers(1, 9), st.sampled_from(["supervisor", "cfo"]), st.integers(1, 9)
)


@st.composite
def laddered(draw: st.DrawFn) -> Quorum:
    """Draw a quorum that is passed on."""
    roles = draw(st.lists(st.sampled_from("abcd"), max_size=RUNGS_MAX, unique=True))
    times = draw(
        st.lists(
            st.integers(1, 50), min_size=len(roles), max_size=len(roles), unique=True
        )
    )
    return Quorum(
        approvers_min=draw(st.integers(1, 3)),
        role="supervisor",
        expires_s=draw(st.integers(51, 99)),
        remind_s=draw(st.integers(0, 50)),
        ladder=tuple(map(Rung, roles, sorted(times))),
    )


ladders = laddered()
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


def test_a_quorum_reminds_and_is_passed_on_before_it_expires() -> None:
    rungs = tuple(Rung(f"r{n}", n) for n in range(1, RUNGS_MAX + 1))
    Quorum(1, "s", 9, remind_s=8, ladder=rungs)
    for wrong in (
        (*rungs, Rung("more", 8)),
        (Rung("s", 1),),
        (Rung("a", 1), Rung("a", 2)),
        (Rung("a", 2), Rung("b", 2)),
        (Rung("a", 0),),
        (Rung("a", 9),),
        (Rung("", 1),),
    ):
        with pytest.raises(ValueError, match="passed on"):
            Quorum(1, "s", 9, ladder=wrong)
    for remind_s in (-1, 9):
        with pytest.raises(ValueError, match="reminds"):
            Quorum(1, "s", 9, remind_s=remind_s)


@given(some=st.lists(ladders, min_size=1, max_size=4))
def test_combined_quorums_let_nobody_sign_whom_one_of_them_does_not(
    some: list[Quorum],
) -> None:
    combined = strictest_quorum(some)
    for rung in combined.ladder:
        for one in some:
            theirs = {r.role: r.after_s for r in one.ladder}
            assert theirs[rung.role] <= rung.after_s < combined.expires_s
    reminders = {one.remind_s for one in some if one.remind_s}
    assert combined.remind_s in reminders | {0}


def test_equal_quorums_combine_to_themselves() -> None:
    one = Quorum(2, "s", 9, remind_s=3, ladder=(Rung("a", 4), Rung("b", 5)))
    assert strictest_quorum([one, one]) == one


def test_a_standing_approval_survives_a_combination_of_permits() -> None:
    combined = strictest((Permit(), Permit(standing_approval="s1")))
    assert combined == Permit(standing_approval="s1")


def test_a_verdict_names_the_argument_in_each_reason() -> None:
    found = Finding(FindingKind.PROVENANCE, "tainted_argument", "/to", "from a note")
    [reason] = Verdict(VerdictWord.HOLD, (found,)).reasons()
    assert reason == Reason("tainted_argument", "/to: from a note")
    ranks = [verdict_rank(word) for word in VerdictWord]
    assert ranks == sorted(ranks)
