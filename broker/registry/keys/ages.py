"""How old keys may become before somebody is told, and which the broker has beside."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

OWN_KEY_AGE_DAYS_MAX: Final = 365
"""How old a key may become that signs warrants, entries, rows or votes."""

AGENT_KEY_AGE_DAYS_MAX: Final = 90
"""How old an agent's key may become."""

UNUSED_DAYS_MAX: Final = 30
"""How long an identity may go unused."""


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


KEY_TOO_OLD: Final = "agent_key_too_old"
UNUSED: Final = "identity_unused"


@dataclass(frozen=True, slots=True)
class Known:
    """What is known about one agent: since when, and when last used.

    ``keys`` says since when each key stands in the row, ``used`` when each was used
    last, by kid.
    """

    agent_id: str
    name: str
    registered_at: datetime
    keys: Mapping[str, datetime]
    used: Mapping[str, datetime]


@dataclass(frozen=True, slots=True)
class Stale:
    """Authority that should go: an old key (``kid``), or an unused identity."""

    what: str
    agent_id: str
    name: str
    kid: str
    since: datetime
    days: int


def stale(agent: Known, *, now: datetime) -> list[Stale]:
    """Return which keys are past their age, and whether nobody uses the identity."""
    found = [
        Stale(KEY_TOO_OLD, agent.agent_id, agent.name, kid, since, (now - since).days)
        for kid, since in sorted(agent.keys.items())
        if now - since > timedelta(days=AGENT_KEY_AGE_DAYS_MAX)
    ]
    last = max([agent.registered_at, *agent.used.values()])
    if now - last > timedelta(days=UNUSED_DAYS_MAX):
        days = (now - last).days
        found.append(Stale(UNUSED, agent.agent_id, agent.name, "", last, days))
    return found
