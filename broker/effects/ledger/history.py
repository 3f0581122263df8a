"""Read the log back: entries, heads, and proofs from the stored hashes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import asyncpg

from broker.core.transparency.merkle import EMPTY_ROOT, MerkleError, Node, perfect_root
from broker.core.transparency.proofs import (
    assemble,
    consistency_path,
    inclusion_path,
    nodes_of,
    stored_below,
)
from broker.core.words.errors import LedgerUnavailableError, StoreUnavailableError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from broker.core.transparency.proofs import Path, Stored
    from broker.effects.database import Database

PAGE_MAX: Final = 1_000
"""Most entries read at once."""

_ENTRY = "SELECT seq, entry_id, leaf, integrated_at FROM audit_entry"
_LEAVES = """
SELECT seq AS at, leaf_hash AS hash FROM audit_entry
 WHERE log = $1 AND seq = ANY ($2::bigint[])
"""
_NODES = """
SELECT index AS at, hash FROM audit_node
 WHERE log = $1 AND index = ANY ($2::bigint[]) AND level = $3
"""
_NOTES = """
SELECT note FROM audit_checkpoint
 WHERE log = $1 AND size >= $2 AND size <= $3 ORDER BY size DESC LIMIT $4
"""

# The largest in each of $3 stretches of equal length.
_SPACED = """
SELECT DISTINCT ON (stretch) note FROM (
  SELECT note, size, width_bucket(size, 0, $2::bigint + 1, $3) AS stretch
    FROM audit_checkpoint WHERE log = $1 AND size <= $2) AS c
 ORDER BY stretch, size DESC
"""


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry as the log has it. Its signature is not verified here."""

    seq: int
    entry_id: str
    leaf: bytes
    integrated_at: datetime


class History:
    """Reads of one log, each in a statement of its own."""

    def __init__(self, database: Database, *, log: str) -> None:
        """Keep where to read."""
        self._database = database
        self._log = log

    async def head(self) -> tuple[int, bytes]:
        """Return size and root as committed.

        Raises:
            LedgerUnavailableError: The database does not answer.
        """
        sql = "SELECT size, root FROM audit_head WHERE log = $1"
        rows = await self._rows(sql, self._log)
        return (rows[0]["size"], rows[0]["root"]) if rows else (0, EMPTY_ROOT)

    async def entry(self, seq: int) -> Entry | None:
        """Return the entry at a position, or None.

        Raises:
            LedgerUnavailableError: The database does not answer.
        """
        rows = await self._rows(f"{_ENTRY} WHERE log = $1 AND seq = $2", self._log, seq)
        return _entry(rows[0]) if rows else None

    async def find(self, entry_id: str) -> Entry | None:
        """Return the entry with an id, or None.

        Raises:
            LedgerUnavailableError: The database does not answer.
        """
        sql = f"{_ENTRY} WHERE log = $1 AND entry_id = $2"
        rows = await self._rows(sql, self._log, entry_id)
        return _entry(rows[0]) if rows else None

    async def entries(self, first: int, *, count: int = PAGE_MAX) -> list[Entry]:
        """Return up to ``count`` entries from a position on, in order.

        Raises:
            LedgerUnavailableError: The database does not answer.
        """
        sql = f"{_ENTRY} WHERE log = $1 AND seq >= $2 ORDER BY seq LIMIT $3"
        rows = await self._rows(sql, self._log, first, min(count, PAGE_MAX))
        return [_entry(row) for row in rows]

    async def of_action(self, action_id: str) -> list[Entry]:
        """Return the first PAGE_MAX entries about an action, in order.

        Raises:
            LedgerUnavailableError: The database does not answer.
        """
        sql = f"{_ENTRY} WHERE log = $1 AND about_id = $2 ORDER BY seq LIMIT $3"
        rows = await self._rows(sql, self._log, action_id, PAGE_MAX)
        return [_entry(row) for row in rows]

    async def notes(self, *, first: int, last: int, count: int) -> list[str]:
        """Return stored checkpoints between two sizes, the largest first. Unverified.

        Raises:
            LedgerUnavailableError: The database does not answer.
        """
        rows = await self._rows(_NOTES, self._log, first, last, count)
        return [row["note"] for row in rows]

    async def spaced_notes(self, *, last: int, count: int) -> list[str]:
        """Return stored checkpoints spread over the log's first ``last``. Unverified.

        Raises:
            LedgerUnavailableError: The database does not answer.
        """
        rows = await self._rows(_SPACED, self._log, last, count)
        return [row["note"] for row in rows]

    async def inclusion(self, seq: int, size: int) -> tuple[bytes, ...]:
        """Return the proof that an entry is in the log's first ``size``.

        Raises:
            MerkleError: It is not, or the log is shorter.
            LedgerUnavailableError: The database does not answer.
        """
        return await self._prove(inclusion_path(seq, size))

    async def consistency(self, old: int, new: int) -> tuple[bytes, ...]:
        """Return the proof that the log's first ``new`` extend its first ``old``.

        Raises:
            MerkleError: The log is shorter.
            LedgerUnavailableError: The database does not answer.
        """
        return await self._prove(consistency_path(old, new))

    async def _prove(self, path: Path) -> tuple[bytes, ...]:
        nodes = nodes_of(path)
        by_level: dict[int, list[tuple[Node, Stored]]] = {}
        for node in nodes:
            stored = stored_below(node)
            by_level.setdefault(stored.level, []).append((node, stored))
        roots: dict[Node, bytes] = {}
        for level, wanted in by_level.items():
            roots |= await self._roots(level, wanted)
        return assemble(path, roots)

    async def _roots(
        self, level: int, wanted: Sequence[tuple[Node, Stored]]
    ) -> dict[Node, bytes]:
        # At most 255 for each level of tiles: a proof needs no subtree twice.
        asked = [at for _, stored in wanted for at in _places(stored)]
        if level == 0:
            rows = await self._rows(_LEAVES, self._log, asked)
        else:
            rows = await self._rows(_NODES, self._log, asked, level)
        hashes = {row["at"]: row["hash"] for row in rows}
        if len(hashes) != len(set(asked)):
            msg = f"the log lacks hashes at level {level}"
            raise MerkleError(msg)
        return {
            node: perfect_root([hashes[at] for at in _places(stored)])
            for node, stored in wanted
        }

    async def _rows(self, sql: str, *args: Any) -> list[asyncpg.Record]:  # noqa: ANN401
        try:
            return await self._database.rows(sql, *args)
        except (StoreUnavailableError, asyncpg.PostgresError) as error:
            msg = "the log's database does not answer"
            raise LedgerUnavailableError(msg, retry_after_s=2) from error


def _entry(row: asyncpg.Record) -> Entry:
    return Entry(row["seq"], str(row["entry_id"]), row["leaf"], row["integrated_at"])


def _places(stored: Stored) -> range:
    return range(stored.first, stored.first + stored.count)
