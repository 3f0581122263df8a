"""What is said would make it pass does, and a little less does not."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.core.authorize import Question
from broker.core.decisions.explain import Change, answer, remaining, ways
from broker.core.words.budget import Line, Window
from broker.core.words.decision import Deny, Escalate, Permit
from tests.support.cases import NOW, demo_book, question

BOOK = demo_book()


def about(**changes: Any) -> Question:
    return question(totals=dict.fromkeys(BOOK.totals, 0), **changes)


def line(**changes: Any) -> Line:
    made = Line("agent-day", "b", Window.DAY, NOW, "USD", limit=10_000, amount=2_500)
    return replace(made, **changes)


def changes_of(asked: Question, *lines: Line) -> list[list[tuple[Change, Any]]]:
    return [list(way.changes) for way in ways(asked, BOOK, lines)]


def changed(asked: Question, changes: Any) -> Question:
    fields: dict[Change, dict[str, Any]] = {
        Change.STANDING: {"standing": True},
        Change.PROOF: {"proof": True},
    }
    for change, value in changes:
        made = fields.get(change, {})
        if change is Change.AMOUNT:
            made = {"amount_minor_units": value}
        if change is Change.VERIFICATION:
            made = {"verification": value, "customer_bound": True}
        asked = replace(asked, **made)
    return asked


asked_about = st.builds(
    about,
    tool=st.just("orders.refund"),
    amount_minor_units=st.sampled_from(
        [1, 100_000, 100_001, 500_000, 500_001, 2**53 - 1]
    ),
    verification=st.integers(0, 3),
    standing=st.booleans(),
    proof=st.booleans(),
    topics=st.sampled_from([(), ("complaint",)]),
    channel=st.sampled_from(["webchat", "telephone"]),
)


@settings(max_examples=40, deadline=None)
@given(asked=asked_about)
def test_with_what_is_named_it_passes_and_with_nothing_named_it_does_already(
    asked: Question,
) -> None:
    now = answer(asked, BOOK)
    found = ways(asked, BOOK, ())
    if isinstance(now, Permit):
        assert found == ()
    for way in found:
        assert way.changes
        assert not isinstance(way.decision, Deny)
        if way.changes[0][0] is not Change.PEOPLE:
            assert answer(changed(asked, way.changes), BOOK) == way.decision
    if isinstance(now, Escalate):
        assert found[0].changes == ((Change.PEOPLE, now.quorum.approvers_min),)


def test_the_largest_amount_that_passes_is_named() -> None:
    asked = about(amount_minor_units=900_000)
    assert changes_of(asked) == [[(Change.AMOUNT, 500_000)]]
    assert isinstance(answer(replace(asked, amount_minor_units=500_001), BOOK), Deny)


def test_the_lowest_level_that_passes_is_named_alone_or_with_an_amount() -> None:
    low = about(verification=0, standing=False)
    assert changes_of(low) == [[(Change.VERIFICATION, 2)]]
    large = about(verification=0, standing=False, amount_minor_units=900_000)
    assert changes_of(large) == [[(Change.VERIFICATION, 2), (Change.AMOUNT, 500_000)]]


def test_what_nothing_here_would_help_has_no_way() -> None:
    assert changes_of(about(channel="telephone")) == []
    assert changes_of(about(currency="EUR")) == []


def test_a_full_budget_asks_for_less_or_for_room() -> None:
    asked = about(standing=False)
    assert changes_of(asked, line(posted=8_000)) == [[(Change.AMOUNT, 2_000)]]
    assert changes_of(asked, line(posted=10_000)) == [[(Change.ROOM, "agent-day")]]
    frozen = line(frozen=True)
    assert changes_of(asked, frozen) == [[(Change.ROOM, "agent-day")]]
    both = about(standing=False, verification=0)
    assert changes_of(both, line(posted=10_000)) == [
        [(Change.ROOM, "agent-day"), (Change.VERIFICATION, 2)]
    ]


@pytest.mark.parametrize(
    ("changes", "left"),
    [
        ({}, 10_000),
        ({"posted": 4_000, "held": 1_000}, 5_000),
        ({"posted": 20_000}, 0),
        ({"per_action": 3_000}, 3_000),
        ({"frozen": True}, 0),
    ],
)
def test_what_remains_is_what_one_action_could_still_take(changes, left) -> None:
    assert remaining(line(**changes)) == left
