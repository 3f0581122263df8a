"""What supervisors' work needs from the world: lists, claims, questions, absences."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from broker.core.approvals.questions import Asking
    from broker.core.approvals.timetable import Mark
    from broker.core.words.entry import AuditEntry
    from broker.ports.values import OnDesk, Sealed


class Order(StrEnum):
    """How a list is sorted: the next to expire first, or the largest amount."""

    EXPIRY = "expiry"
    AMOUNT = "amount"


@dataclass(frozen=True, slots=True)
class Listing:
    """Which pending approvals are wanted; an empty text means that it does not matter.

    ``after`` is where the page before ended: the sort key of its last row (an ISO time,
    or minor units) and that row's id.
    """

    roles: tuple[str, ...]
    limit: int
    order: Order = Order.EXPIRY
    customer_ref: str = ""
    agent_id: str = ""
    tool: str = ""
    after: tuple[str, str] | None = None


class ClaimWord(StrEnum):
    """What became of a claim: ``HELD`` by somebody else, ``FULL`` of one's own.

    ``SPENT``: this person has worked on it for as long as one can.
    """

    CLAIMED = "claimed"
    HELD = "held"
    CLOSED = "closed"
    FULL = "full"
    SPENT = "spent"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Claimed:
    """Who works on an approval after all, and until when."""

    word: ClaimWord
    by: str = ""
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Away:
    """Who is away until when, and who stands in."""

    person_id: str
    deputy: str
    until: datetime


@dataclass(frozen=True, slots=True)
class Saying:
    """A question or an answer, sealed, with its entry."""

    approval_id: str
    question_id: str
    at: datetime
    payload: Sealed
    entry: AuditEntry
    person_id: str = ""


class SaidWord(StrEnum):
    """What became of a question or an answer."""

    ASKED = "asked"
    FULL = "full"
    ANSWERED = "answered"
    BEFORE = "before"
    CLOSED = "closed"
    UNKNOWN = "unknown"


class Queue(Protocol):
    """Where people find what waits, and how they share the work."""

    async def page(self, wanted: Listing) -> Sequence[OnDesk]:
        """Return pending approvals in order, up to ``limit``."""

    async def mark(
        self, approval_id: str, mark: Mark, *, next_at: datetime, entry: AuditEntry
    ) -> bool:
        """Do what time has made due, once; False if it was done, or is over."""

    async def claim(self, approval_id: str, *, person_id: str) -> Claimed:
        """Take an approval to work on it, for CLAIM_S."""

    async def release(self, approval_id: str, *, person_id: str, to: str = "") -> bool:
        """Give a claim back, or to a deputy; False if it was not this person's."""

    async def claims(self, person_id: str) -> Sequence[OnDesk]:
        """Return what a person works on."""

    async def away(self, person_id: str) -> Away | None:
        """Return whether a person is away now."""

    async def set_away(self, person_id: str, away: Away | None) -> None:
        """Note that a person is away, or back."""

    async def questions(self, approval_id: str) -> Sequence[Asking]:
        """Return the questions about an approval, the first first."""

    async def ask(self, saying: Saying) -> SaidWord:
        """Store a question, up to QUESTIONS_MAX of one approval."""

    async def answer(self, saying: Saying) -> SaidWord:
        """Store the answer to a question, once."""
