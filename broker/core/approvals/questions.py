"""Questions of approvers, and what the agent answers; neither changes what is signed.

A question says in a person's words what is missing on the card. The answer is a text of
the agent: labelled ``model_authored``, shown after the customer's own words, and no
ground to believe anything. Both change the card, so that a yes is given to a card that
has them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from broker.core.words.errors import InvalidError
from broker.core.words.labels import Integrity
from broker.core.words.moment import write_moment

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

QUESTIONS_MAX: Final = 5
"""Questions about one approval."""

QUESTION_CHARS_MAX: Final = 500
ANSWER_CHARS_MAX: Final = 2_000


@dataclass(frozen=True, slots=True)
class Asking:
    """A question with its answer; ``answered_at`` is None while there is none.

    ``text`` is empty once what was said was erased.
    """

    question_id: str
    number: int
    asked_by: str
    at: datetime
    text: str
    answer: str = ""
    answered_at: datetime | None = None


def checked_text(text: str, *, chars_max: int, pointer: str) -> str:
    """Return a text without its outer blanks.

    Raises:
        InvalidError: It is empty, too long, or has something in it that does not print.
    """
    text = text.strip()
    plain = text.replace("\n", " ")
    if not text or len(text) > chars_max or not plain.isprintable():
        msg = f"a text of 1 to {chars_max} printable characters is needed"
        raise InvalidError(msg, pointer=pointer)
    return text


def on_card(questions: Sequence[Asking]) -> list[dict[str, Any]]:
    """Return questions and answers as a card shows them, as JSON."""
    return [
        {
            "number": one.number,
            "asked_by": one.asked_by,
            "at": write_moment(one.at),
            "question": one.text,
            "answer": None
            if one.answered_at is None
            else {
                "at": write_moment(one.answered_at),
                "text": one.answer,
                "label": Integrity.MODEL_AUTHORED.name.lower(),
            },
        }
        for one in questions
    ]


def for_agent(questions: Sequence[Asking]) -> list[dict[str, Any]]:
    """Return what an agent has to answer: unanswered questions, and nobody's name."""
    return [
        {
            "question_id": one.question_id,
            "question": one.text,
            "asked_at": write_moment(one.at),
        }
        for one in questions
        if one.answered_at is None
    ]
