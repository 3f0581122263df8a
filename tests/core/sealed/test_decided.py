"""What a decision was made from comes back as it went in."""

from __future__ import annotations

import json
from dataclasses import fields
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.core.authorize import AgentFacts, Question
from broker.core.sealed.decided import Decided, Taken, from_json, taken_of, to_json
from broker.core.words.budget import Line, Window
from broker.core.words.decision import VerdictWord
from tests.support.cases import NOW, question

words = st.text(max_size=8)
numbers = st.integers(0, 2**53 - 1)
KINDS = {
    "str": words,
    "int": numbers,
    "bool": st.booleans(),
    "tuple[str, ...]": st.lists(words, max_size=3).map(tuple),
    "frozenset[str]": st.frozensets(words, max_size=4),
    "Mapping[str, int]": st.dictionaries(words, numbers, max_size=3),
}


def built(kind: Any, **given: Any) -> Any:
    """Return a strategy for a class by what its fields are called."""
    rest = {f.name: str(f.type) for f in fields(kind) if f.name not in given}
    return st.builds(kind, **given, **{name: KINDS[t] for name, t in rest.items()})


agents = built(AgentFacts)
questions = built(Question, agent=agents, chain=st.lists(agents, max_size=3).map(tuple))
taken = st.builds(Taken, words, words, numbers, numbers, numbers)


@given(
    decided=st.builds(
        Decided,
        question=questions,
        verdict=st.sampled_from(VerdictWord),
        findings=st.lists(words, max_size=3).map(tuple),
        taken=st.lists(taken, max_size=3).map(tuple),
        policy_version=st.integers(1, 10**6),
    )
)
def test_what_was_decided_from_comes_back_as_it_went_in(decided: Decided) -> None:
    assert from_json(json.loads(json.dumps(to_json(decided)))) == decided


def written(**changes: Any) -> dict[str, Any]:
    made = Decided(question(), VerdictWord.CLEAN, (), (), 1)
    return to_json(made) | changes


@pytest.mark.parametrize("missing", ["tool", "totals", "agent"])
def test_a_record_without_a_whole_question_is_refused(missing: str) -> None:
    whole = written()
    question_ = {k: v for k, v in whole["question"].items() if k != missing}
    with pytest.raises(ValueError, match="whole question"):
        from_json(whole | {"question": question_})
    with pytest.raises(ValueError, match="whole question"):
        from_json({})


def test_what_policies_no_longer_look_at_is_left_out() -> None:
    whole = written()
    more = whole["question"] | {"moon": "full"}
    assert from_json(whole | {"question": more}) == from_json(whole)


def test_a_budget_line_is_recorded_with_what_was_taken_before() -> None:
    line = Line(
        rule_id="agent-day",
        budget_id="b" * 64,
        window=Window.DAY,
        window_start=NOW,
        unit="USD",
        limit=100,
        amount=30,
        posted=20,
        held=5,
    )
    assert taken_of([line]) == (Taken("agent-day", "USD", 30, 100, 25),)
