"""Notices: what people are told about approvals, and the order to carry one out.

A notice informs. It names an approval or an action, a tool and an amount, and leads to
the console; it holds no name, no word of a customer and no argument.

Source: DESIGN, chapter 3 (invariants 1 and 2) and chapter 7 (Votes).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from broker.core.words.money import Money

NOTICE_TYP: Final = "counterfoil-notice+jwt"
NOTICE_RECEIPT_TYP: Final = "counterfoil-notice-receipt+jwt"
NOTICE_TTL_S_MAX: Final = 10
NOTICE_CONNECTOR: Final = "notify_"
"""How the name of every connector begins that carries notices, and of no other."""


class NoticeKind(StrEnum):
    """What happened; the word stands in the type of the event."""

    ASKED = "asked"
    REMINDER = "reminder"
    ESCALATED = "escalated"
    EXPIRING = "expiring"
    EXPIRED = "expired"
    ANSWERED = "answered"
    UNKNOWN = "unknown"
    SUSPENDED = "suspended"
    TEST = "test"


class NoticeForm(StrEnum):
    """In which form it is sent: a signed event, a mail, or a line in a chat."""

    EVENT = "event"
    MAIL = "mail"
    CHAT = "chat"


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """What is told, the same for everybody who is told but for the links.

    ``notice_id`` is the id of the event however often it is sent, so that a receiver
    takes it once. ``topic`` is the approval or the action. ``link`` leads to the
    console; ``reject_link`` is there for one person only, and can do nothing but
    reject. ``held_back`` are notices that were not sent before it, beyond the cap.
    """

    notice_id: str
    kind: NoticeKind
    at: datetime
    topic: str
    link: str
    tool: str = ""
    role: str = ""
    amount: Money | None = None
    expires_at: datetime | None = None
    reject_link: str = ""
    held_back: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class NoticeOrder:
    """A single-use order to send one notice through one connector.

    ``to`` is the address of a mail, empty for the other forms: where those go is the
    credential's business. ``epochs`` void the order when its channel was removed.
    """

    order_id: str
    tenant: str
    environment: str
    connector: str
    form: NoticeForm
    to: str
    notice: Notice
    edge: str
    boot: str
    epochs: tuple[tuple[str, int], ...]
    issued_at: datetime
    expires_at: datetime

    def __post_init__(self) -> None:
        """Refuse an order without a zone, or that lives longer than NOTICE_TTL_S_MAX.

        Raises:
            ValueError: It is one of these.
        """
        if self.issued_at.tzinfo is None or self.expires_at.tzinfo is None:
            msg = "an order's times must carry a time zone"
            raise ValueError(msg)
        longest = timedelta(seconds=NOTICE_TTL_S_MAX)
        if not timedelta() < self.expires_at - self.issued_at <= longest:
            msg = f"an order lives up to {NOTICE_TTL_S_MAX} s"
            raise ValueError(msg)

    @property
    def warrant_id(self) -> str:
        """Return the id under which it is spent, beside those of warrants."""
        return self.order_id

    @property
    def action_id(self) -> str:
        """Return what it is spent for: the notice."""
        return self.notice.notice_id


class CarriedState(StrEnum):
    """What became of an order: taken, refused for good, or to be tried again."""

    TAKEN = "taken"
    REFUSED = "refused"
    LATER = "later"


@dataclass(frozen=True, slots=True)
class Carried:
    """The edge's signed word on one order; ``code`` says why it was not taken."""

    state: CarriedState
    status: int = 0
    code: str = ""
