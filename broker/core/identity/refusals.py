"""How many refusals are written down: enough to see, and not to drown in.

Anybody can cause one without a key. They are logged up to a rate; the next entry says
how many were held back, so that the log never hides that there were more. Whoever shows
a token of ours has a rate of their own: strangers cannot crowd out what is known. So
has whoever is established and turned away before there is a case.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from datetime import datetime

REFUSALS_BURST_MAX: Final = 20
REFUSALS_PER_S_MAX: Final = 2.0

HOLDER_REFUSALS_PER_MINUTE_MAX: Final = 10
"""Refused calls of one identity's tokens that are written down, by each replica."""

HOLDERS_KEPT_MAX: Final = 4_096
"""Identities whose refusals are counted apart: those that were refused last."""


@dataclass(slots=True)
class Refusals:
    """A token bucket, and the count of what it held back."""

    left: float = REFUSALS_BURST_MAX
    held_back: int = 0
    counted_at: datetime | None = None
    burst_max: int = REFUSALS_BURST_MAX
    per_s: float = REFUSALS_PER_S_MAX

    def admit(self, now: datetime) -> int | None:
        """Return how many were held back before this one, or None to hold it back."""
        if self.counted_at is not None:
            passed_s = max((now - self.counted_at).total_seconds(), 0.0)
            self.left = min(self.burst_max, self.left + passed_s * self.per_s)
        self.counted_at = now
        if self.left < 1:
            self.held_back += 1
            return None
        self.left -= 1
        held_back, self.held_back = self.held_back, 0
        return held_back


@dataclass(slots=True)
class HolderRefusals:
    """A bucket for each identity whose tokens were refused."""

    kept: OrderedDict[str, Refusals] = field(default_factory=OrderedDict)

    def of(self, subject: str) -> Refusals:
        """Return the bucket of an identity; a new one is full."""
        most = HOLDER_REFUSALS_PER_MINUTE_MAX
        found = self.kept.pop(subject, None) or Refusals(
            left=most, burst_max=most, per_s=most / 60
        )
        self.kept[subject] = found
        while len(self.kept) > HOLDERS_KEPT_MAX:
            self.kept.popitem(last=False)
        return found
