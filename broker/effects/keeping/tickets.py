"""Where tickets to the console are kept, under the hashes of their secrets.

A row lets nobody in by itself: it carries the ticket that the broker signed, and
broker/core/identity/tickets.py believes nothing else. The row makes it end early.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from datetime import datetime

    from broker.effects.database import Database

TICKETS_PURGED_MAX: Final = 1_000
"""Rows that ended and are deleted when another one is kept."""

_KEEP = (
    "INSERT INTO console_ticket (name, kind, signed, expires_at) VALUES ($1,$2,$3,$4)"
)
_PURGE = """
DELETE FROM console_ticket WHERE name IN (
  SELECT name FROM console_ticket WHERE expires_at < now() - interval '1 minute'
   LIMIT $1)
"""
_FIND = """
SELECT signed FROM console_ticket WHERE name = $1 AND kind = $2 AND ended_at IS NULL
"""
# One statement, so that of two who show the same link only one gets in.
_END = """
UPDATE console_ticket SET ended_at = clock_timestamp()
 WHERE name = $1 AND kind = $2 AND ended_at IS NULL RETURNING signed
"""


class Tickets:
    """Links and sessions of the console, over PostgreSQL."""

    def __init__(self, database: Database) -> None:
        """Keep where they are kept."""
        self._database = database

    async def keep(
        self, name: bytes, *, kind: str, signed: str, expires_at: datetime
    ) -> None:
        """Keep a new ticket, and forget those that have ended."""
        await self._database.value(_PURGE, TICKETS_PURGED_MAX)
        await self._database.value(_KEEP, name, kind, signed, expires_at)

    async def find(self, name: bytes, *, kind: str) -> str | None:
        """Return a ticket that was not ended early, signed as it is; or None."""
        found: str | None = await self._database.value(_FIND, name, kind)
        return found

    async def end(self, name: bytes, *, kind: str) -> str | None:
        """End a ticket for good, and return it; None if it was ended before."""
        found: str | None = await self._database.value(_END, name, kind)
        return found
