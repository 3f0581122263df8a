"""How many refusals are written down: enough to see, and not to drown in.

Anybody can cause one without a key. They are logged up to a rate; the next entry says
how many were held back, so that the log never hides that there were more.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from datetime import datetime

REFUSALS_BURST_MAX: Final = 20
REFUSALS_PER_S_MAX: Final = 2.0


@dataclass(slots=True)
class Refusals:
    """A token bucket, and the count of what it held back."""

    left: float = REFUSALS_BURST_MAX
    held_back: int = 0
    counted_at: datetime | None = None

    def admit(self, now: datetime) -> int | None:
        """Return how many were held back before this one, or None to hold it back."""
        if self.counted_at is not None:
            passed_s = max((now - self.counted_at).total_seconds(), 0.0)
            self.left = min(
                REFUSALS_BURST_MAX, self.left + passed_s * REFUSALS_PER_S_MAX
            )
        self.counted_at = now
        if self.left < 1:
            self.held_back += 1
            return None
        self.left -= 1
        held_back, self.held_back = self.held_back, 0
        return held_back
