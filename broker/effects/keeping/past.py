"""What was decided before, read back page by page for a replay.

Ids are UUIDv7 and so in the order of time: a page is a range of the primary key. Data
keys come with the rows and are not kept: a replay over everybody's records must not
push the keys of those who call just now out of memory.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from broker.core.sealed.decided import from_json
from broker.effects.keeping import rows
from broker.effects.vault import ErasedError
from broker.ports import Page
from broker.watch.replay import Recorded

if TYPE_CHECKING:
    import asyncpg

    from broker.effects.database import Database
    from broker.effects.vault import PayloadVault

STRETCH: Final = 50
"""Records that are opened between two breaths of the event loop: about 3 ms."""

_PAGE = """
SELECT a.action_id, a.decision, p.*, k.wrapped
  FROM action a
  JOIN payload p ON p.payload_id = a.request_payload
  JOIN subject_key k USING (subject, purpose)
 WHERE a.action_id > $1 AND a.action_id < $2 AND a.kind <> 'canary'
 ORDER BY a.action_id LIMIT $3
"""


class PostgresPast:
    """The Past port over PostgreSQL and the vault."""

    def __init__(self, database: Database, *, vault: PayloadVault) -> None:
        """Keep where records are, and who opens them."""
        self._database = database
        self._vault = vault

    async def page(self, *, after: str, until: str, limit: int) -> Page:
        """Return recorded actions between two ids, the oldest first."""
        found = await self._database.rows(_PAGE, after, until, limit)
        records: list[Recorded] = []
        left_out: Counter[str] = Counter()
        for number, row in enumerate(found):
            if number % STRETCH == 0:
                # Decrypting a whole page at once would keep live calls waiting.
                await asyncio.sleep(0)
            try:
                records.append(self._record(row))
            except ErasedError:
                left_out["erased"] += 1
            except (KeyError, TypeError, ValueError):
                # Of before questions were recorded, or changed in the table.
                left_out["unreadable"] += 1
        last = str(found[-1]["action_id"]) if found else after
        return Page(tuple(records), left_out, last, full=len(found) == limit)

    def _record(self, row: asyncpg.Record) -> Recorded:
        draft = rows.draft_from(row)
        sealed: dict[str, Any] = self._vault.open_with(
            row["wrapped"], draft, row["sealed"]
        )
        asked, reasons = sealed["asked"], sealed["reasons"]
        return Recorded(
            action_id=str(row["action_id"]),
            word=row["decision"],
            code=reasons[0]["code"] if reasons else "",
            quorum=(asked["approvers_min"], asked["role"]) if asked else None,
            decided=from_json(sealed["decided"]),
            simulated=sealed["simulated"],
        )
