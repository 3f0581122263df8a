"""What time makes due while people are asked: a reminder, another role, the end.

Everything follows from what was decided and from when it was asked, so that whoever
looks, whenever they look, comes to the same answer; what was done already is kept by
SQL, which does each thing once.

Source: DESIGN, chapters 3 (invariant 5) and 7 (Votes).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from broker.core.approve import roles_of

if TYPE_CHECKING:
    from datetime import datetime

    from broker.core.words.decision import Quorum


CLAIM_S: Final = 600
"""How long a claim lasts; claiming again makes it last so long anew."""

CLAIM_TOTAL_S_MAX: Final = 1_800
"""How long after a first claim the same person can claim the same approval again."""


class MarkKind(StrEnum):
    """What is done at a moment: somebody is reminded, or a further role is asked."""

    REMINDER = "reminder"
    ESCALATED = "escalated"


@dataclass(frozen=True, slots=True)
class Mark:
    """One thing that time makes due, once: ``role`` is who hears of it."""

    kind: MarkKind
    role: str
    at: datetime


def marks(quorum: Quorum, *, since: datetime) -> tuple[Mark, ...]:
    """Return all that becomes due before the expiry, the first first."""
    found = [
        Mark(MarkKind.ESCALATED, rung.role, since + timedelta(seconds=rung.after_s))
        for rung in quorum.ladder
    ]
    if quorum.remind_s:
        at = since + timedelta(seconds=quorum.remind_s)
        asked = roles_of(quorum, since=since, moment=at)
        found += [Mark(MarkKind.REMINDER, role, at) for role in sorted(asked)]
    return tuple(sorted(found, key=lambda mark: (mark.at, mark.kind, mark.role)))


def due(quorum: Quorum, *, since: datetime, now: datetime) -> tuple[Mark, ...]:
    """Return what is due at a moment, whether it was done before or not."""
    return tuple(mark for mark in marks(quorum, since=since) if mark.at <= now)


def next_at(quorum: Quorum, *, since: datetime, now: datetime) -> datetime:
    """Return the next moment after ``now`` that matters: the expiry at the latest."""
    later = (mark.at for mark in marks(quorum, since=since) if mark.at > now)
    return min(later, default=since + timedelta(seconds=quorum.expires_s))
