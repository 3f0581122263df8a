"""What the log and the tables know about one identity, for its timeline."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from broker.core.transparency.entry_leaf import EntryError, open_entry
from broker.watch.timeline import Acted, Logged

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from broker.core.jwk import PublicKey
    from broker.effects.database import Database

PAST_ENTRIES_MAX: Final = 20_000
"""Most entries about one identity that are read: the earliest, in their order."""

PAST_ACTIONS_MAX: Final = 5_000
"""Most actions of one agent that are read: the latest."""

_PAGE: Final = 1_000
_ENTRIES: Final = """
SELECT seq, leaf FROM audit_entry
 WHERE about_id = $1::uuid AND log = 'main' AND seq >= $2 ORDER BY seq LIMIT $3
"""
_ACTIONS: Final = """
SELECT a.action_id::text, a.tool, a.state, a.grant_id, a.created_at,
       (SELECT min(e.seq) FROM audit_entry AS e WHERE e.about_id = a.action_id) AS seq
  FROM (SELECT * FROM action WHERE agent_id = $1 ORDER BY created_at DESC LIMIT $2) AS a
 ORDER BY a.created_at
"""


class IdentityPast:
    """Reads what happened to an identity, and what it did."""

    def __init__(self, database: Database, keys: Mapping[str, PublicKey]) -> None:
        """Keep where to read, and the keys that entries are signed with."""
        self._database = database
        self._keys = keys

    async def entries(self, subject_id: str) -> Sequence[Logged]:
        """Return the entries about an identity that verify, in their order."""
        found: list[Logged] = []
        first = 0
        while len(found) < PAST_ENTRIES_MAX:
            rows = await self._database.rows(_ENTRIES, subject_id, first, _PAGE)
            for row in rows:
                try:
                    entry = open_entry(row["leaf"], self._keys)
                except EntryError:
                    # Whoever audits the log sees it; nothing is proved by it here.
                    continue
                found.append(Logged(row["seq"], entry))
            if len(rows) < _PAGE:
                break
            first = rows[-1]["seq"] + 1
        return found[:PAST_ENTRIES_MAX]

    async def actions(self, agent_id: str) -> Sequence[Acted]:
        """Return the latest actions of an agent, the earliest first."""
        rows = await self._database.rows(_ACTIONS, agent_id, PAST_ACTIONS_MAX)
        return [
            Acted(
                action_id=row["action_id"],
                tool=row["tool"],
                state=row["state"],
                grant_id=row["grant_id"],
                at=row["created_at"],
                seq=row["seq"],
            )
            for row in rows
        ]
