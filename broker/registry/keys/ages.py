"""How old keys may become before somebody is told, and which the broker has beside."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

OWN_KEY_AGE_DAYS_MAX: Final = 365
"""How old a key may become that signs warrants, entries, rows or votes."""


@dataclass(frozen=True, slots=True)
class OwnKey:
    """A key of the broker's that is a file: what it signs, and since when it exists."""

    name: str
    kid: str
    algorithm: str
    made_at: datetime

    def too_old(self, now: datetime) -> bool:
        """Return whether policy wants another one by now."""
        return now - self.made_at > timedelta(days=OWN_KEY_AGE_DAYS_MAX)
