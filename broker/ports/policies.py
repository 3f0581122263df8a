"""What policies that change need from the world: what waits, what was, and shadows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from broker.ports.values import Page, Redecided, Redecision, ShadowCount
    from broker.watch.replay import Tally


class Waiting(Protocol):
    """Actions that wait for people while policies change."""

    async def outdated(
        self, *, version: int, replica: str, limit: int
    ) -> Sequence[str]:
        """Return ids of waiting actions that an earlier version decided."""

    async def redecide(self, new: Redecision) -> Redecided:
        """Store what a new policy says of a waiting action, in one transaction."""


class Past(Protocol):
    """What was decided before, with what it was decided from."""

    async def page(self, *, after: str, until: str, limit: int) -> Page:
        """Return recorded actions between two ids, the oldest first."""


class Shadows(Protocol):
    """What shadow policies would have decided otherwise."""

    async def count(self, revision: int) -> ShadowCount | None:
        """Return what was counted for a revision, None if nothing was yet."""

    async def advance(
        self, revision: int, *, seen: str, last: str, tally: Tally
    ) -> bool:
        """Add what was found between two ids; False if another replica was faster."""


@dataclass(frozen=True, slots=True)
class PolicyRoom:
    """What publishing and rehearsing a policy touches."""

    waiting: Waiting
    past: Past
    shadows: Shadows
