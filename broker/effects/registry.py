"""The registry: signed rows in PostgreSQL, verified before anybody sees them.

What is in force is asked of the database on every call, in one statement, so that what
another replica revoked is revoked here too. The rows themselves never change, so each
revision is fetched and verified once.
"""

from __future__ import annotations

from collections import OrderedDict
from contextlib import suppress
from typing import TYPE_CHECKING, Final, Protocol, TypeAlias

import structlog

from broker.core.jws import sign
from broker.core.words.errors import (
    ConflictError,
    LedgerUnavailableError,
    RowHiddenError,
    StoreUnavailableError,
)
from broker.registry.authority import (
    AUTHORITY_TYP,
    ROW_BYTES_MAX,
    AuthorityRow,
    Realm,
    row_claims,
    verify_row,
)
from broker.registry.reading import RowError
from broker.registry.records import hint_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from broker.core.jwk import PrivateKey
    from broker.core.words.entry import AuditEntry
    from broker.effects.database import Database
    from broker.registry.records import Change

Head: TypeAlias = tuple[str, str, int]
"""Kind, id and newest revision of a row, whether that revision verifies or not."""

ROWS_KEPT_MAX: Final = 20_000
LIST_MAX: Final = 5_000
FORGED_MAX: Final = 1_000
"""How many newer rows that do not verify are passed over before giving up.

Beyond, nobody knows what is in force, and `RowHiddenError` says so: what is hidden may
be a restriction, so it is never taken for a row that does not exist.
"""

_FETCHED: Final = 200
"""Rows that one statement fetches: each may be as long as ROW_BYTES_MAX."""

_TOLD: Final = 1_000
"""Hidden rows that an alarm speaks of, each once."""

_NOW = "SELECT revision, epochs FROM authority_now($1, $2, $3)"
_NEWEST = """
SELECT revision, jws FROM authority WHERE kind = $1 AND id = $2
 ORDER BY revision DESC LIMIT $3
"""
_NEWER = """
SELECT revision, jws FROM authority WHERE kind = $1 AND id = $2 AND revision > $3
 ORDER BY revision LIMIT $4
"""
_HEADS = """
SELECT id, max(revision) AS revision FROM authority WHERE kind = $1
 GROUP BY id ORDER BY id LIMIT $2
"""
_HEADS_OF = """
SELECT id, max(revision) AS revision FROM authority WHERE kind = $1 AND id = ANY ($2)
 GROUP BY id ORDER BY id
"""
_THESE = """
SELECT a.kind, a.id, a.revision, a.jws
  FROM unnest($1::text[], $2::text[], $3::int[]) AS h (kind, id, revision)
  JOIN authority AS a USING (kind, id, revision)
"""
_WAITING = "SELECT authority_waiting($1, $2)"
_log = structlog.get_logger("registry")


class Entries(Protocol):
    """Signs entries for staging, and sees to it that staged ones are integrated."""

    def signed(self, entries: Sequence[AuditEntry]) -> list[dict[str, str]]:
        """Return ``[{"entry_id", "leaf": base64}]``."""

    async def integrated(self, entries: Sequence[AuditEntry]) -> None:
        """Bring staged entries into the log, or raise LedgerUnavailableError."""


class Registry:
    """Signed rows, epochs and their history, over PostgreSQL."""

    def __init__(
        self, database: Database, *, realm: Realm, key: PrivateKey, entries: Entries
    ) -> None:
        """Keep what rows are verified, signed and evidenced with."""
        self._database = database
        self._realm = realm
        self._key = key
        self._entries = entries
        self._rows: OrderedDict[Head, AuthorityRow] = OrderedDict()
        self._told: set[tuple[str, str]] = set()

    async def get(self, kind: str, row_id: str) -> AuthorityRow | None:
        """Return the row in force, or None if there is none that verifies.

        Raises:
            RowHiddenError: Nobody can tell which one that is.
        """
        row, _ = await self.now(kind, row_id, ())
        return row

    async def now(
        self, kind: str, row_id: str, scopes: Sequence[str]
    ) -> tuple[AuthorityRow | None, dict[str, int]]:
        """Return the row in force and the epochs of some scopes, in one statement."""
        found = await self._database.row(_NOW, kind, row_id, list(scopes))
        if found is None:
            msg = "the database gave no answer"
            raise StoreUnavailableError(msg)
        newest: int = found["revision"]
        epochs: dict[str, int] = found["epochs"]
        if newest == 0:
            return None, epochs
        return await self.in_force(kind, row_id, newest), epochs

    async def list(self, kind: str) -> list[AuthorityRow]:
        """Return every row of a kind that is in force, by id; up to LIST_MAX.

        Whoever writes to the table can push rows out of it: restrictions are asked for
        by `those`.
        """
        heads = await self._database.rows(_HEADS, kind, LIST_MAX)
        return [
            *await self.all_in_force(
                [(kind, head["id"], head["revision"]) for head in heads]
            )
        ]

    async def those(self, kind: str, row_ids: Sequence[str]) -> Sequence[AuthorityRow]:
        """Return the rows of a kind that are in force and have one of these ids."""
        heads = await self._database.rows(_HEADS_OF, kind, list(row_ids))
        return await self.all_in_force(
            [(kind, head["id"], head["revision"]) for head in heads]
        )

    async def history(
        self, kind: str, row_id: str, *, limit: int
    ) -> Sequence[AuthorityRow]:
        """Return the newest revisions that verify, newest first."""
        found = await self._database.rows(_NEWEST, kind, row_id, limit)
        rows = [
            self._verified(kind, row_id, record["revision"], record["jws"])
            for record in found
        ]
        return [row for row in rows if row is not None]

    async def epochs(self, scopes: Sequence[str]) -> dict[str, int]:
        """Return the current epochs of some scopes; one that never moved has none."""
        _, epochs = await self.now("agent", "none", scopes)
        return epochs

    async def waiting(self, kind: str, about: str) -> int:
        """Return how many rows of a kind are about somebody, and wait."""
        found: int = await self._database.value(_WAITING, kind, about)
        return found

    async def put(self, change: Change, entry: AuditEntry) -> AuthorityRow:
        """Sign and add a revision, revoke what it narrows, and log it: all or nothing.

        Raises:
            ConflictError: The row is no longer at the revision it was changed from.
        """
        current = await self.get(change.kind, change.row_id)
        if (current.revision if current else 0) != change.after:
            raise _changed()
        row = AuthorityRow(
            kind=change.kind,
            row_id=change.row_id,
            revision=await self._free(change),
            at=change.at,
            by=change.by,
            tenant=self._realm.tenant,
            environment=self._realm.environment,
            body=change.body,
        )
        signed = sign(
            row_claims(row), key=self._key, typ=AUTHORITY_TYP, bytes_max=ROW_BYTES_MAX
        )
        hint = hint_of(row.kind, row.body)
        added = await self._database.value(
            "SELECT authority_put($1, $2, $3, $4, $5, $6, $7, $8)",
            row.kind,
            row.row_id,
            row.revision,
            signed,
            list(change.revokes),
            self._entries.signed((entry,)),
            list(hint.about),
            hint.until,
        )
        if not added:
            raise _changed()
        # The entry is durable with the change; if the log cannot take it just now,
        # whoever sequences next does.
        with suppress(LedgerUnavailableError):
            await self._entries.integrated((entry,))
        return self._keep(row)

    async def revoke(self, scopes: Sequence[str], entry: AuditEntry) -> dict[str, int]:
        """Void everything issued under these scopes, and log it in one transaction."""
        moved: dict[str, int] = await self._database.value(
            "SELECT authority_revoke($1, $2)",
            list(scopes),
            self._entries.signed((entry,)),
        )
        with suppress(LedgerUnavailableError):
            await self._entries.integrated((entry,))
        return moved

    async def all_in_force(self, heads: Sequence[Head]) -> Sequence[AuthorityRow]:
        """Return the rows in force of many heads; what is not kept is fetched at once.

        Raises:
            RowHiddenError: Nobody can tell which one that is, of one of them.
        """
        missing = [head for head in heads if head not in self._rows]
        for first in range(0, len(missing), _FETCHED):
            some = missing[first : first + _FETCHED]
            found = await self._database.rows(
                _THESE, *map(list, zip(*some, strict=True))
            )
            for one in found:
                self._verified(one["kind"], one["id"], one["revision"], one["jws"])
        rows = [await self.in_force(*head) for head in heads]
        return [row for row in rows if row is not None]

    async def in_force(
        self, kind: str, row_id: str, newest: int
    ) -> AuthorityRow | None:
        """Return the row in force, given the newest revision that the table has.

        Raises:
            RowHiddenError: Nobody can tell which one that is.
        """
        kept = self._rows.get((kind, row_id, newest))
        if kept is not None:
            self._rows.move_to_end((kind, row_id, newest))
            return kept
        # A few at first; the rest only if somebody put rows there that do not verify.
        for limit in (4, FORGED_MAX):
            found = await self._database.rows(_NEWEST, kind, row_id, limit)
            for record in found:
                row = self._verified(kind, row_id, record["revision"], record["jws"])
                if row is not None:
                    return row
            if len(found) < limit:
                return None
        raise self._hidden(kind, row_id)

    def _hidden(self, kind: str, row_id: str) -> RowHiddenError:
        if (kind, row_id) not in self._told and len(self._told) < _TOLD:
            self._told.add((kind, row_id))
            _log.error("alarm", alarm="authority_hidden", kind=kind, id=row_id)
        msg = f"a row of {kind} lies behind {FORGED_MAX} rows that do not verify"
        hint = "somebody writes to the table of authority; docs/errors.md#row-hidden"
        return RowHiddenError(msg, hint=hint)

    def _verified(
        self, kind: str, row_id: str, revision: int, signed: str
    ) -> AuthorityRow | None:
        kept = self._rows.get((kind, row_id, revision))
        if kept is not None:
            return kept
        try:
            row = verify_row(
                signed, realm=self._realm, kind=kind, row_id=row_id, revision=revision
            )
        except RowError:
            return None
        return self._keep(row)

    async def _free(self, change: Change) -> int:
        """Return the next number; rows that do not verify are passed over.

        Raises:
            ConflictError: One that verifies is there already.
        """
        taken = await self._database.rows(
            _NEWER, change.kind, change.row_id, change.after, FORGED_MAX
        )
        revision = change.after + 1
        for record in taken:
            number, signed = record["revision"], record["jws"]
            if self._verified(change.kind, change.row_id, number, signed):
                raise _changed()
            if number == revision:
                revision += 1
        return revision

    def _keep(self, row: AuthorityRow) -> AuthorityRow:
        self._rows[row.kind, row.row_id, row.revision] = row
        while len(self._rows) > ROWS_KEPT_MAX:
            self._rows.popitem(last=False)
        return row


def _changed() -> ConflictError:
    msg = "somebody else changed this meanwhile"
    return ConflictError(msg, hint="look at it again, then repeat the change")
