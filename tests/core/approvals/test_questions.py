"""Questions and answers: bounded texts, and an answer that is nobody's evidence."""

from __future__ import annotations

import pytest

from broker.core.approvals.questions import (
    ANSWER_CHARS_MAX,
    QUESTION_CHARS_MAX,
    Asking,
    checked_text,
    for_agent,
    on_card,
)
from broker.core.words.errors import InvalidError
from broker.core.words.moment import write_moment
from tests.support.cases import NOW

OPEN = Asking("q1", 1, "alice", NOW, "which parcel?")
ANSWERED = Asking("q0", 0, "bob", NOW, "why?", answer="it broke", answered_at=NOW)


@pytest.mark.parametrize("most", [QUESTION_CHARS_MAX, ANSWER_CHARS_MAX])
def test_a_text_is_as_long_as_the_limit_and_not_longer(most: int) -> None:
    assert checked_text("x" * most, chars_max=most, pointer="/x") == "x" * most
    with pytest.raises(InvalidError, match=str(most)) as refused:
        checked_text("x" * (most + 1), chars_max=most, pointer="/x")
    assert refused.value.pointer == "/x"


@pytest.mark.parametrize("text", ["", " \n ", "a\x1b[2J", "\u202eabc", "a\x00"])
def test_a_text_says_something_and_moves_no_cursor(text: str) -> None:
    with pytest.raises(InvalidError):
        checked_text(text, chars_max=9, pointer="/x")
    assert checked_text(" two\nlines ", chars_max=9, pointer="/x") == "two\nlines"


def test_an_answer_is_shown_as_what_a_model_wrote() -> None:
    first, second = on_card([ANSWERED, OPEN])
    assert first["answer"] == {
        "at": write_moment(NOW),
        "text": "it broke",
        "label": "model_authored",
    }
    assert second["answer"] is None
    assert (second["question"], second["asked_by"]) == ("which parcel?", "alice")


def test_an_agent_sees_what_is_open_and_not_who_asks() -> None:
    [told] = for_agent([ANSWERED, OPEN])
    assert set(told) == {"question_id", "question", "asked_at"}
    assert told["question"] == "which parcel?"
