"""What the log and the tables know about one identity, for its timeline."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from broker.core.transparency.entry_leaf import EntryError, open_entry
from broker.watch.timeline import Acted, Found, Logged

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

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
  FROM (SELECT * FROM action
         WHERE agent_id = $1 AND ($3::timestamptz IS NULL OR created_at <= $3)
         ORDER BY created_at DESC LIMIT $2) AS a
 ORDER BY a.created_at
"""


class IdentityPast:
    """Reads what happened to an identity, and what it did."""

    def __init__(self, database: Database, keys: Mapping[str, PublicKey]) -> None:
        """Keep where to read, and the keys that entries are signed with."""
        self._database = database
        self._keys = keys

    async def entries(self, subject_id: str, *, first: int = 0) -> Found[Logged]:
        """Return the entries about an identity that verify, in their order.

        ``first`` is the position to begin with; `Found.more` that of the next.
        """
        found: list[Logged] = []
        read = 0
        while True:
            # One past the most tells whether there are more.
            most = min(_PAGE, PAST_ENTRIES_MAX + 1 - read)
            rows = await self._database.rows(_ENTRIES, subject_id, first, most)
            for row in rows:
                if read == PAST_ENTRIES_MAX:
                    return Found(found, more=row["seq"])
                read += 1
                try:
                    entry = open_entry(row["leaf"], self._keys)
                except EntryError:
                    # Whoever audits the log sees it; nothing is proved by it here.
                    continue
                found.append(Logged(row["seq"], entry))
            if len(rows) < most:
                return Found(found)
            first = rows[-1]["seq"] + 1

    async def actions(
        self, agent_id: str, *, until: datetime | None = None
    ) -> Found[Acted]:
        """Return the latest actions of an agent, the earliest first.

        ``until`` is the moment of the latest to be read; `Found.more` that of the one
        before those that were.
        """
        most = PAST_ACTIONS_MAX
        rows = await self._database.rows(_ACTIONS, agent_id, most + 1, until)
        more = rows[0]["created_at"] if len(rows) > most else None
        found = [
            Acted(
                action_id=row["action_id"],
                tool=row["tool"],
                state=row["state"],
                grant_id=row["grant_id"],
                at=row["created_at"],
                seq=row["seq"],
            )
            for row in rows[-most:]
        ]
        return Found(found, more=more)
