"""Keep a manifest from loading until a person confirmed what nobody could know.

A manifest that was made from somebody else's description carries a ``[review]``: the
open questions, and later who confirmed the answers. The confirmation names the digest
of everything else in the file, so that a change after it opens the manifest again. It
is a record that goes with the file, and no signature: whoever may write the catalogue
may also write manifests without any review. See docs/connectors.md.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

QUESTIONS_MAX: Final = 64
QUESTION_CHARS_MAX: Final = 1_000
ANSWER_CHARS_MAX: Final = 500
ACCEPTED_MAX: Final = 32

_REVIEW = frozenset({"source", "operation", "questions", "confirmation"})
_QUESTION = frozenset({"id", "field", "question", "answer"})
_CONFIRMATION = frozenset({"by", "at", "digest"})


@dataclass(frozen=True, slots=True)
class Question:
    """Something that had to be guessed; ``field`` says where the guess stands."""

    question_id: str
    field: str
    question: str
    answer: str

    @property
    def open(self) -> bool:
        """Return whether nobody has answered it."""
        return not self.answer.strip()


@dataclass(frozen=True, slots=True)
class Review:
    """What is asked of whoever confirms a manifest, and who did, if anybody."""

    questions: tuple[Question, ...]
    by: str = ""
    at: str = ""
    digest: str = ""

    @property
    def open(self) -> tuple[str, ...]:
        """Return the ids of the questions that nobody has answered."""
        return tuple(one.question_id for one in self.questions if one.open)


def reviewed_digest(data: Mapping[str, Any]) -> str:
    """Return the SHA-256 of a manifest without its confirmation: what one covers."""
    review = {
        name: value
        for name, value in data.get("review", {}).items()
        if name != "confirmation"
    }
    text = json.dumps(
        {**data, "review": review},
        sort_keys=True,
        separators=(",", ":"),
        ensure_ascii=True,
    )
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def read_review(data: Mapping[str, Any]) -> Review | None:
    """Return the review of a manifest, or None if it has none.

    Raises:
        ValueError: It is malformed.
    """
    if "review" not in data:
        return None
    raw = _table(data["review"], _REVIEW, "[review]")
    asked = raw.get("questions", [])
    if not isinstance(asked, list) or len(asked) > QUESTIONS_MAX:
        msg = f"review.questions is a list of at most {QUESTIONS_MAX}"
        raise ValueError(msg)
    questions = tuple(_question(one) for one in asked)
    if len({one.question_id for one in questions}) != len(questions):
        msg = "review.questions: two have the same id"
        raise ValueError(msg)
    if "confirmation" not in raw:
        return Review(questions)
    given = _table(raw["confirmation"], _CONFIRMATION, "[review.confirmation]")
    by, at, digest = (
        _text(given.get(name), f"review.confirmation.{name}", ANSWER_CHARS_MAX)
        for name in ("by", "at", "digest")
    )
    return Review(questions, by=by, at=at, digest=digest)


def check_review(data: Mapping[str, Any]) -> None:
    """Refuse a manifest that waits for a person.

    Raises:
        ValueError: A question is open, nobody confirmed it, or it was changed since.
    """
    review = read_review(data)
    if review is None:
        return
    todo = "a person confirms it with `counterfoil tools confirm`"
    if review.open:
        msg = f"open questions in review: {', '.join(review.open)}; {todo}"
        raise ValueError(msg)
    if not review.digest:
        msg = f"nobody has confirmed it; {todo}"
        raise ValueError(msg)
    if review.digest != reviewed_digest(data):
        msg = f"it was changed after {review.by} confirmed it; {todo} again"
        raise ValueError(msg)


def read_accepted(data: Mapping[str, Any]) -> dict[str, str]:
    """Return which findings of `tools check` a manifest accepts, each with its reason.

    Raises:
        ValueError: It is malformed, or gives no reason.
    """
    raw = data.get("accepted", [])
    if not isinstance(raw, list) or len(raw) > ACCEPTED_MAX:
        msg = f"accepted is a list of at most {ACCEPTED_MAX} tables"
        raise ValueError(msg)
    accepted: dict[str, str] = {}
    for one in raw:
        table = _table(one, frozenset({"finding", "because"}), "[[accepted]]")
        finding, because = (
            _text(table.get(name), f"accepted.{name}", ANSWER_CHARS_MAX)
            for name in ("finding", "because")
        )
        accepted[finding] = because
    return accepted


def _question(raw: object) -> Question:
    table = _table(raw, _QUESTION, "[[review.questions]]")
    answer = table.get("answer", "")
    if not isinstance(answer, str) or len(answer) > ANSWER_CHARS_MAX:
        msg = f"an answer is a text of at most {ANSWER_CHARS_MAX} characters"
        raise ValueError(msg)
    return Question(
        question_id=_text(table.get("id"), "review.questions.id", ANSWER_CHARS_MAX),
        field=_text(table.get("field"), "review.questions.field", ANSWER_CHARS_MAX),
        question=_text(
            table.get("question"), "review.questions.question", QUESTION_CHARS_MAX
        ),
        answer=answer,
    )


def _table(raw: object, known: frozenset[str], where: str) -> Mapping[str, Any]:
    if not isinstance(raw, dict):
        msg = f"{where} is a table"
        raise ValueError(msg)  # noqa: TRY004 (one error for every malformed manifest)
    for name in sorted(set(raw) - known):
        msg = f"unknown field {name!r} in {where}"
        raise ValueError(msg)
    return raw


def _text(value: object, where: str, chars_max: int) -> str:
    if not isinstance(value, str) or not value.strip() or len(value) > chars_max:
        msg = f"{where} is a text of 1 to {chars_max} characters"
        raise ValueError(msg)
    return value
