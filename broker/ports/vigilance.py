"""What canaries need: their switch, their clock, and who was shown which."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from broker.core.words.entry import AuditEntry
    from broker.registry.vigilance.rows import Canaries, Right


@dataclass(frozen=True, slots=True)
class EndedCanary:
    """A canary whose approval has ended, and was not judged yet."""

    action_id: str
    approval_id: str
    flaw: str


@dataclass(frozen=True, slots=True)
class Habit:
    """How one person decided real actions of the last 30 days.

    ``dwell_s`` is the median time from seeing a card to voting, None if no card was
    seen.
    """

    person_id: str
    decided: int
    approved: int
    dwell_s: float | None


class Vigil(Protocol):
    """Canaries in the database, and the signed rows about them."""

    async def switch(self) -> Canaries:
        """Return the switch; one that nobody ever used is off."""

    async def due(self, *, pause_s: float) -> bool:
        """Return whether one is to be planted now; then the next one is due later."""

    async def planted(self, action_id: str, *, flaw: str, seed: str) -> None:
        """Note that an action is a canary."""

    async def unjudged(self, *, limit: int) -> Sequence[EndedCanary]:
        """Return canaries that have ended and wait to be judged."""

    async def judged(self, action_id: str, entries: Sequence[AuditEntry]) -> bool:
        """Note that one was judged, with its entries; False if it was before."""

    async def faced(
        self, person_id: str, *, since: datetime | None, limit: int
    ) -> Sequence[str]:
        """Return approvals of judged canaries that a person voted on, newest first."""

    async def right(self, person_id: str) -> tuple[Right, datetime | None]:
        """Return a person's right, and since when it says so."""

    async def suspend(self, right: Right, *, at: datetime, entry: AuditEntry) -> None:
        """Sign and store a suspended right, and have owners and security told."""

    async def habits(self) -> Sequence[Habit]:
        """Return how people decided real actions of the last 30 days."""

    async def watched(self) -> Sequence[str]:
        """Return the people who voted on a judged canary."""
