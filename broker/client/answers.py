"""What comes back: an answer, or the problem that the broker states."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    import httpx


@dataclass(frozen=True, slots=True)
class Answer:
    """A response: ``body`` is its JSON, or an empty object."""

    status: int
    body: Mapping[str, Any]
    headers: Mapping[str, str]

    @property
    def ok(self) -> bool:
        """Return whether this is no problem."""
        return self.status < 400  # noqa: PLR2004  (RFC 9110, section 15)

    def checked(self) -> Mapping[str, Any]:
        """Return the body.

        Raises:
            RefusedError: It is a problem.
        """
        if not self.ok:
            raise RefusedError(self)
        return self.body


class RefusedError(Exception):
    """The broker said no; ``code`` is stable, ``hint`` says what to do next."""

    def __init__(self, answer: Answer) -> None:
        """Read the problem (RFC 9457), or the OAuth error, out of an answer."""
        body = answer.body
        self.answer = answer
        self.status = answer.status
        self.code = str(body.get("code") or body.get("error") or answer.status)
        self.detail = str(body.get("detail") or body.get("error_description") or "")
        self.hint = str(body.get("hint") or "")
        super().__init__(f"{self.code}: {self.detail}")


class UnreachableError(Exception):
    """Nobody answered."""


def answer_of(response: httpx.Response) -> Answer:
    """Return a response as an answer; a body that is no JSON object counts as empty."""
    body: Any = {}
    if "json" in response.headers.get("content-type", ""):
        try:
            body = response.json()
        except ValueError:
            body = {}
    if not isinstance(body, dict):
        body = {}
    headers = {name.lower(): value for name, value in response.headers.items()}
    return Answer(response.status_code, body, headers)
