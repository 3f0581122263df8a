"""Unknown outcomes in PostgreSQL: whose edge is asked again, and who waits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from broker.core.words.action import ActionState
from broker.ports import OpenOutcome, Sending

if TYPE_CHECKING:
    from collections.abc import Sequence

    from broker.core.words.entry import AuditEntry
    from broker.effects.database import Database
    from broker.effects.registry import Entries

ASK_FIRST_S: Final = 5
"""How long after it became unknown the edge is asked again, in seconds."""

ASK_PAUSE_S_MAX: Final = 3_600
"""The longest pause between two questions about one action, in seconds."""

_DUE = """
SELECT EXISTS (
  SELECT FROM action
   WHERE state = 'unknown'
     AND coalesce(ask_at, updated_at + $1 * interval '1 second') <= now())
"""
_LISTED = """
SELECT action_id, updated_at, asks, edge_said, ask_at, alarms,
       extract(epoch FROM now() - updated_at)::float8 AS age_s
  FROM action WHERE state = 'unknown' ORDER BY updated_at, action_id LIMIT $1
"""


class PostgresUnknown:
    """The Unresolved port over PostgreSQL and the ledger."""

    def __init__(self, database: Database, *, entries: Entries) -> None:
        """Keep where rows and entries go."""
        self._database = database
        self._entries = entries

    async def due(self) -> bool:
        """Return whether there is one whose edge is to be asked again now."""
        return bool(await self._database.value(_DUE, ASK_FIRST_S))

    async def take(self, *, limit: int) -> Sequence[str]:
        """Return ids of those, and begin their next pause."""
        found = await self._database.rows(
            "SELECT unknown_take($1, $2, $3) AS action_id",
            limit,
            ASK_FIRST_S,
            ASK_PAUSE_S_MAX,
        )
        return [str(row["action_id"]) for row in found]

    async def said(
        self, action_id: str, said: str, *, alarm: str, entry: AuditEntry | None
    ) -> bool:
        """Keep what the edge said; return whether the alarm, if any, is a new one."""
        entries = (entry,) if entry is not None else ()
        raised: bool = await self._database.value(
            "SELECT unknown_said($1, $2, $3, $4)",
            action_id,
            said,
            alarm,
            self._entries.signed(entries),
        )
        if raised:
            # If we die here, whoever sequences next takes the staged entry along.
            await self._entries.integrated(entries)
        return raised

    async def listed(self, *, limit: int) -> Sequence[OpenOutcome]:
        """Return unknown outcomes, the oldest first."""
        return [
            OpenOutcome(
                action_id=str(row["action_id"]),
                since=row["updated_at"],
                age_s=row["age_s"],
                asks=row["asks"],
                edge_said=row["edge_said"],
                ask_at=row["ask_at"],
                alarms=tuple(row["alarms"]),
            )
            for row in await self._database.rows(_LISTED, limit)
        ]

    async def resolution(self, action_id: str) -> str:
        """Return which resolution of a person ended this action, empty if none did."""
        return str(
            await self._database.value(
                "SELECT resolution FROM action WHERE action_id = $1", action_id
            )
            or ""
        )

    async def undos(self, action_id: str) -> Sequence[tuple[str, ActionState]]:
        """Return the undos of an action that were asked for, with their states."""
        found = await self._database.rows(
            "SELECT action_id, state FROM action"
            " WHERE reversal_of = $1 AND decision <> 'deny' ORDER BY action_id",
            action_id,
        )
        return [(str(row["action_id"]), ActionState(row["state"])) for row in found]

    async def sending(self, action_id: str) -> Sending | None:
        """Return how an unknown action was sent; None if it is not unknown."""
        rows = await self._database.rows(
            "SELECT coalesce(first_warrant, warrant_id) AS warrant, resends"
            "  FROM action WHERE action_id = $1 AND state = 'unknown'",
            action_id,
        )
        for row in rows:
            return Sending(str(row["warrant"]), row["resends"])
        return None

    async def send_again(
        self, action_id: str, *, before: str, warrant_id: str, entry: AuditEntry
    ) -> bool:
        """Give an unknown action a new warrant, and integrate the entry of it.

        False if the warrant ``before`` is not its last one, or it is not unknown.
        """
        taken: bool = await self._database.value(
            "SELECT unknown_again($1, $2, $3, $4)",
            action_id,
            before,
            warrant_id,
            self._entries.signed((entry,)),
        )
        if taken:
            await self._entries.integrated((entry,))
        return taken
