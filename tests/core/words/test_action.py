"""The states of an action, and the moves between them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from broker.core.words.action import ENDED, MOVES, ActionState, may_move, wire_state

WIRE = {
    "pending_approval",
    "executing",
    "done",
    "refused",
    "failed",
    "unknown",
    "cancelled",
    "expired",
}


@given(old=st.sampled_from(ActionState), new=st.sampled_from(ActionState))
def test_nothing_leaves_an_end_and_everything_else_can_reach_one(
    old: ActionState, new: ActionState
) -> None:
    if old in ENDED:
        assert not may_move(old, new)
        return
    reached, edge = {old}, {old}
    while edge:
        edge = {to for one in edge for to in MOVES.get(one, ())} - reached
        reached |= edge
    assert reached & ENDED


def test_money_that_may_have_moved_is_never_forgotten() -> None:
    assert not may_move(ActionState.UNKNOWN, ActionState.REFUSED)
    assert not may_move(ActionState.UNKNOWN, ActionState.EXECUTING)
    assert not may_move(ActionState.PENDING_APPROVAL, ActionState.EXECUTING)


def test_callers_see_the_documented_words_only() -> None:
    assert {wire_state(state) for state in ActionState} == WIRE
