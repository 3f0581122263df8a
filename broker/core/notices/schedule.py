"""Who is told what, and when something that was not taken is sent again.

Source: docs/notifications.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from broker.core.words.notice import NoticeForm, NoticeKind

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from broker.core.words.approval import Approver
    from broker.core.words.money import Money

TRIES_MAX: Final = 8
"""How often one notice is sent to one receiver before an alarm is raised."""

PAUSE_FIRST_S: Final = 30.0
PAUSE_S_MAX: Final = 3_600.0
PER_HOUR_MAX: Final = 1_000
PER_HOUR_USUAL: Final = 60

REJECTABLE: Final = frozenset(
    {
        NoticeKind.ASKED,
        NoticeKind.REMINDER,
        NoticeKind.ESCALATED,
        NoticeKind.EXPIRING,
        NoticeKind.ANSWERED,
    }
)
"""What is about an approval that still waits, and so can be rejected."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscription:
    """Who gets which notices where, as a signed row says.

    ``role`` is empty where everything is wanted; ``person_id`` is set for mail alone.
    ``kinds`` are empty where all are wanted. ``address`` names the sealed address;
    ``own`` says that the person named it themselves, so that a mail to it may hold what
    speaks for them.
    """

    subscription_id: str
    form: NoticeForm
    connector: str
    role: str = ""
    person_id: str = ""
    kinds: frozenset[NoticeKind] = frozenset()
    per_hour: int = PER_HOUR_USUAL
    address: str = ""
    address_sha256: str = ""
    own: bool = False
    active: bool = True
    revision: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """Something that happened; for a role, for one person, or for whoever wants it."""

    notice_id: str
    kind: NoticeKind
    topic: str
    at: datetime
    role: str = ""
    person_id: str = ""
    tool: str = ""
    amount: Money | None = None
    expires_at: datetime | None = None


def wanted(one: Subscription, told: Told, *, people: Mapping[str, Approver]) -> bool:
    """Return whether this subscriber is told; a test goes nowhere by itself.

    What is for one person goes to that person's mail, and to receivers of everything.
    """
    if not one.active or (one.kinds and told.kind not in one.kinds):
        return False
    if told.kind is NoticeKind.TEST:
        return False
    if one.form is not NoticeForm.MAIL:
        return not one.role or (not told.person_id and told.role == one.role)
    person = people.get(one.person_id)
    if person is None or not person.active:
        return False
    if told.person_id:
        return told.person_id == one.person_id
    return told.role in person.roles


def pause_s(tries: int, *, chance: float) -> float:
    """Return how long to wait after that many tries, in seconds.

    Each pause is twice the one before, times something between a half and one and a
    half, so that receivers that were away are not met by everybody at once.

    Args:
        tries: How often it was sent, at least 1.
        chance: Drawn at random, 0 to 1.
    """
    if tries < 1 or not 0.0 <= chance <= 1.0:
        msg = f"no pause for {tries} tries and chance {chance}"
        raise ValueError(msg)
    whole = min(PAUSE_S_MAX, PAUSE_FIRST_S * 2.0 ** min(tries - 1, 20))
    return whole * (0.5 + chance)
