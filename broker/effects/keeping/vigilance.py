"""Canaries in PostgreSQL, and the signed rows about them."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Final

from broker.core.words.errors import ConflictError, LedgerUnavailableError
from broker.effects.parsed import Parsed
from broker.ports.vigilance import EndedCanary, Habit
from broker.registry.records import Change
from broker.registry.vigilance.rows import (
    RIGHT_KIND,
    SWITCH_ID,
    SWITCH_KIND,
    Canaries,
    Right,
    parse_canaries,
    parse_right,
    right_body,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from broker.core.words.entry import AuditEntry
    from broker.effects.database import Database
    from broker.effects.registry import Entries, Registry

BY_POLICY: Final = "policy:canaries"
_UNJUDGED = """
SELECT c.action_id, a.approval_id, c.flaw
  FROM canary c JOIN action a USING (action_id)
  JOIN approval b ON b.approval_id = a.approval_id
 WHERE c.judged_at IS NULL AND b.state <> 'pending' ORDER BY c.planted_at LIMIT $1
"""
_FACED = """
SELECT a.approval_id FROM canary c JOIN action a USING (action_id)
 WHERE c.judged_at IS NOT NULL AND c.judged_at > coalesce($2::timestamptz, '-infinity')
   AND EXISTS (SELECT FROM vote v
                WHERE v.approval_id = a.approval_id AND v.person_id = $1)
 ORDER BY c.judged_at DESC LIMIT $3
"""
_WATCHED = """
SELECT DISTINCT v.person_id FROM canary c JOIN action a USING (action_id)
  JOIN vote v ON v.approval_id = a.approval_id
 WHERE c.judged_at IS NOT NULL ORDER BY 1 LIMIT 1000
"""
# What was made up says nothing about how real work is decided.
_HABITS = """
SELECT v.person_id, count(*) AS decided,
       count(*) FILTER (WHERE v.word = 'approve') AS approved,
       percentile_cont(0.5) WITHIN GROUP (
         ORDER BY extract(epoch FROM v.cast_at - s.seen_at))::float8 AS dwell_s
  FROM vote v JOIN approval b USING (approval_id) JOIN action a USING (action_id)
  LEFT JOIN LATERAL (
    SELECT min(c.seen_at) AS seen_at FROM card_view c
     WHERE c.approval_id = v.approval_id AND c.person_id = v.person_id
       AND c.seen_at <= v.cast_at) s ON true
 WHERE v.cast_at > now() - interval '30 days' AND a.kind <> 'canary'
 GROUP BY v.person_id ORDER BY v.person_id LIMIT 1000
"""


class PostgresVigil:
    """The Vigil port over PostgreSQL and the registry."""

    def __init__(
        self, database: Database, registry: Registry, *, entries: Entries
    ) -> None:
        """Keep where rows, signed rows and entries are."""
        self._database = database
        self._registry = registry
        self._entries = entries
        self._switches = Parsed(parse_canaries)
        self._rights = Parsed(parse_right)

    async def switch(self) -> Canaries:
        """Return the switch; one that nobody ever used is off."""
        row = await self._registry.get(SWITCH_KIND, SWITCH_ID)
        return self._switches.of(row) or Canaries()

    async def due(self, *, pause_s: float) -> bool:
        """Return whether one is to be planted now; then the next one is due later."""
        return bool(await self._database.value("SELECT canary_due($1)", pause_s))

    async def planted(self, action_id: str, *, flaw: str, seed: str) -> None:
        """Note that an action is a canary."""
        await self._database.value(
            "SELECT canary_planted($1, $2, $3)", action_id, flaw, seed
        )

    async def unjudged(self, *, limit: int) -> Sequence[EndedCanary]:
        """Return canaries that have ended and wait to be judged."""
        found = await self._database.rows(_UNJUDGED, limit)
        return [
            EndedCanary(str(row["action_id"]), str(row["approval_id"]), row["flaw"])
            for row in found
        ]

    async def judged(self, action_id: str, entries: Sequence[AuditEntry]) -> bool:
        """Note that one was judged, with its entries; False if it was before."""
        first: bool = await self._database.value(
            "SELECT canary_judged($1, $2)", action_id, self._entries.signed(entries)
        )
        if first:
            with suppress(LedgerUnavailableError):
                await self._entries.integrated(entries)
        return first

    async def faced(
        self, person_id: str, *, since: datetime | None, limit: int
    ) -> Sequence[str]:
        """Return approvals of judged canaries that a person voted on, newest first."""
        found = await self._database.rows(_FACED, person_id, since, limit)
        return [str(row["approval_id"]) for row in found]

    async def right(self, person_id: str) -> tuple[Right, datetime | None]:
        """Return a person's right, and since when it says so."""
        row = await self._registry.get(RIGHT_KIND, person_id)
        right = self._rights.of(row)
        return right or Right(person_id), row.at if row else None

    async def suspend(self, right: Right, *, at: datetime, entry: AuditEntry) -> None:
        """Sign and store a suspended right, and have owners and security told."""
        change = Change(
            kind=RIGHT_KIND,
            row_id=right.person_id,
            body=right_body(right),
            by=(BY_POLICY,),
            at=at,
            after=right.revision,
        )
        with suppress(ConflictError):
            row = await self._registry.put(change, entry)
            await self._database.value(
                "SELECT notice_suspended($1, $2)", right.person_id, str(row.revision)
            )

    async def habits(self) -> Sequence[Habit]:
        """Return how people decided real actions of the last 30 days."""
        found = await self._database.rows(_HABITS)
        return [
            Habit(row["person_id"], row["decided"], row["approved"], row["dwell_s"])
            for row in found
        ]

    async def watched(self) -> Sequence[str]:
        """Return the people who voted on a judged canary."""
        found = await self._database.rows(_WATCHED)
        return [row["person_id"] for row in found]
