"""What is needed to find out what became of an action that may have happened."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from broker.core.words.action import ActionState
    from broker.core.words.entry import AuditEntry


@dataclass(frozen=True, slots=True)
class OpenOutcome:
    """An unknown outcome as its columns say: for lists, never to decide.

    ``age_s`` is how long it is unknown, in seconds; ``edge_said`` what the edge said
    when it was asked again, empty before; ``ask_at`` when it is asked next.
    """

    action_id: str
    since: datetime
    age_s: float
    asks: int
    edge_said: str
    ask_at: datetime | None
    alarms: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Sending:
    """Under which warrant an action was first sent, and how often it was again."""

    first_warrant: str
    again: int


class Unresolved(Protocol):
    """Actions whose outcome is unknown."""

    async def due(self) -> bool:
        """Return whether there is one whose edge is to be asked again now."""

    async def take(self, *, limit: int) -> Sequence[str]:
        """Return ids of those, and begin their next pause."""

    async def said(
        self, action_id: str, said: str, *, alarm: str, entry: AuditEntry | None
    ) -> bool:
        """Keep what the edge said; return whether the alarm, if any, is a new one.

        An empty ``said`` leaves what it said last.
        """

    async def listed(self, *, limit: int) -> Sequence[OpenOutcome]:
        """Return unknown outcomes, the oldest first."""

    async def resolution(self, action_id: str) -> str:
        """Return which resolution of a person ended this action, empty if none did."""

    async def undos(self, action_id: str) -> Sequence[tuple[str, ActionState]]:
        """Return the undos of an action that were asked for, with their states."""

    async def sending(self, action_id: str) -> Sending | None:
        """Return how an unknown action was sent; None if it is not unknown."""

    async def send_again(
        self, action_id: str, *, before: str, warrant_id: str, entry: AuditEntry
    ) -> bool:
        """Give an unknown action a new warrant, and integrate the entry of it.

        False if the warrant ``before`` is not its last one, or it is not unknown.
        """
