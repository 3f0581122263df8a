"""Write one batch: the callers' rows, then their entries, in one transaction.

The callers' rows come first, so that the head's lock is held only while entries are
hashed and inserted. PostgreSQL does the same checks again that it can do
(infra/migrations/sql/audit.sql); signatures are checked here, before anything counts.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, TypeAlias
from uuid import UUID

import asyncpg

from broker.core.transparency.entry_leaf import EntryError
from broker.core.transparency.merkle import Frontier, append
from broker.core.words.errors import LedgerUnavailableError, StoreUnavailableError
from broker.effects.database import may_pass_later
from broker.effects.ledger.jobs import Leaf, Placed, read_staged

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from broker.core.jwk import PublicKey
    from broker.effects.database import Connection, Database
    from broker.effects.ledger.jobs import Job, Outcome

SWEEP_MAX: Final = 200
"""Entries of others that one batch takes along."""

Alarm: TypeAlias = "Callable[[str, Mapping[str, object]], None]"
"""Told a stable word and fields without personal data."""

_LOCK = "SELECT * FROM audit_lock($1, $2, $3, $4)"
_APPEND = "SELECT audit_append($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)"
_FIND = "SELECT entry_id, seq, leaf_hash FROM audit_entry WHERE entry_id = ANY ($1)"


class RowsRefusedError(Exception):
    """A caller's own rows, or its entries' ids, were refused by the database."""

    def __init__(self, cause: asyncpg.PostgresError, *, by_call: bool) -> None:
        """Keep PostgreSQL's error.

        Args:
            cause: What PostgreSQL said.
            by_call: The caller's own function said it, not the log's.
        """
        super().__init__(str(cause))
        self.cause = cause
        self.by_call = by_call


@dataclass(slots=True)
class _Staged:
    """Staged rows, sorted by what has to be done with them."""

    good: list[tuple[int, Leaf]] = field(default_factory=list)
    known: list[int] = field(default_factory=list)
    refused: list[tuple[int, str, EntryError]] = field(default_factory=list)
    left: dict[str, EntryError] = field(default_factory=dict)


class Integrator:
    """Commits batches to one log."""

    def __init__(
        self,
        database: Database,
        *,
        log: str,
        keys: Callable[[], Mapping[str, PublicKey]],
        alarm: Alarm,
    ) -> None:
        """Keep what the batches need.

        Args:
            database: Connections of the ledger's own, as cf_broker.
            log: Name of the log in the tables.
            keys: Gives the entry keys that are accepted now.
            alarm: Told about staged rows that are no entries.
        """
        self._database = database
        self._log = log
        self._keys = keys
        self._alarm = alarm

    async def commit(self, jobs: Sequence[Job]) -> list[Outcome | EntryError]:
        """Commit all of these jobs, or none.

        Returns:
            For each job where its entries are, None if its own rows were not stored,
            or the error if an entry that it staged is none.

        Raises:
            LedgerUnavailableError: Nothing is known to be committed; the same jobs may
                be tried again.
            RowsRefusedError: One of the jobs can never be committed.
        """
        try:
            async with (
                self._database.connection() as connection,
                connection.transaction(isolation="read_committed"),
            ):
                stored = await self._call(connection, jobs)
                places = await self._integrate(connection, jobs, stored)
                earlier = await self._stored_before(connection, jobs, stored)
        except StoreUnavailableError as error:
            msg = "the log's database does not answer"
            raise LedgerUnavailableError(msg, retry_after_s=2) from error
        except asyncpg.PostgresError as error:
            raise self._sorted(error, by_call=False) from error
        return [
            _outcome(job, places) if kept else all_found(job, earlier)
            for job, kept in zip(jobs, stored, strict=True)
        ]

    async def find(self, entry_ids: Iterable[str]) -> dict[str, Placed]:
        """Return where those entries are that the log has.

        Raises:
            LedgerUnavailableError: The database does not answer.
        """
        try:
            async with self._database.connection() as connection:
                return await self._found(connection, list(entry_ids))
        except (StoreUnavailableError, asyncpg.PostgresError) as error:
            msg = "the log's database does not answer"
            raise LedgerUnavailableError(msg, retry_after_s=2) from error

    @staticmethod
    async def _found(connection: Connection, entry_ids: list[str]) -> dict[str, Placed]:
        rows = await connection.fetch(_FIND, entry_ids)
        return {place.entry_id: place for place in map(_placed, rows)}

    async def _stored_before(
        self, connection: Connection, jobs: Sequence[Job], stored: Sequence[bool]
    ) -> dict[str, Placed]:
        """Find the entries of jobs whose rows were not stored this time.

        A call may store nothing because an earlier attempt, whose answer was lost, did.
        """
        ids = [
            leaf.entry_id
            for job, kept in zip(jobs, stored, strict=True)
            if not kept
            for leaf in job.leaves
        ]
        return await self._found(connection, ids) if ids else {}

    async def _call(self, connection: Connection, jobs: Sequence[Job]) -> list[bool]:
        """Make the jobs' own calls, one statement per function; say who was stored."""
        stored = [True] * len(jobs)
        by_function: dict[tuple[str, int], list[int]] = {}
        for at, job in enumerate(jobs):
            if job.call is not None:
                shape = (job.call.function, len(job.call.args))
                by_function.setdefault(shape, []).append(at)
        for (function, count), places in by_function.items():
            calls = [call for at in places if (call := jobs[at].call) is not None]
            columns = [[call.args[i] for call in calls] for i in range(count)]
            holes = ", ".join(f"${i + 1}" for i in range(count))
            # The name was checked to be one (jobs.SqlCall).
            statement = f"SELECT {function}({holes})"
            try:
                answer = await connection.fetchval(statement, *columns)
            except asyncpg.PostgresError as error:
                if may_pass_later(error):
                    # The pool has to see it: a standby ends all of its connections.
                    raise
                raise self._sorted(error, by_call=True) from error
            if isinstance(answer, list):
                for at, kept in zip(places, answer, strict=True):
                    stored[at] = bool(kept)
        return stored

    async def _integrate(
        self, connection: Connection, jobs: Sequence[Job], stored: Sequence[bool]
    ) -> dict[str, Placed | EntryError]:
        """Append what these jobs bring, and what was staged; return where it is."""
        kept = [job for job, ok in zip(jobs, stored, strict=True) if ok]
        direct = [leaf for job in kept for leaf in job.leaves]
        wanted = sorted({entry_id for job in kept for entry_id in job.staged})
        sweep = bool(wanted) or any(job.sweep for job in kept)
        if not direct and not sweep:
            return {}
        row = await connection.fetchrow(
            _LOCK, self._log, wanted, SWEEP_MAX if sweep else 0, bool(direct or wanted)
        )
        if row is None:
            return {}
        staged = self._sort(row)
        leaves = [leaf for _, leaf in staged.good] + direct
        if leaves:
            stage_ids = [stage_id for stage_id, _ in staged.good]
            await self._append(connection, row, leaves, stage_ids)
        await self._put_aside(connection, staged)
        size = row["size"]
        places: dict[str, Placed | EntryError] = {
            leaf.entry_id: Placed(size + at, leaf.entry_id, leaf.hash)
            for at, leaf in enumerate(leaves)
        }
        missing = [entry_id for entry_id in wanted if entry_id not in places]
        if missing:
            places |= await self._found(connection, missing)
        for _, entry_id, error in staged.refused:
            places.setdefault(entry_id, error)
        for entry_id, error in staged.left.items():
            places.setdefault(entry_id, error)
        return places

    def _sort(self, row: asyncpg.Record) -> _Staged:
        """Verify what was staged."""
        staged = _Staged()
        keys = self._keys()
        rows = zip(
            row["stage_ids"] or (),
            row["entry_ids"] or (),
            row["leaves"] or (),
            row["known"] or (),
            row["overdue"] or (),
            strict=True,
        )
        for stage_id, entry_id, data, known, overdue in rows:
            if known:
                staged.known.append(stage_id)
                continue
            try:
                leaf = read_staged(data, keys, entry_id=str(entry_id))
            except EntryError as error:
                # A key that another replica knows already may be a moment away here.
                if error.problem == "unknown_key" and not overdue:
                    staged.left[str(entry_id)] = error
                else:
                    staged.refused.append((stage_id, str(entry_id), error))
            else:
                staged.good.append((stage_id, leaf))
        return staged

    async def _append(
        self,
        connection: Connection,
        row: asyncpg.Record,
        leaves: Sequence[Leaf],
        stage_ids: Sequence[int],
    ) -> None:
        before = Frontier(row["size"], tuple(row["frontier"]))
        if before.root != row["root"]:
            self._alarm("ledger_head_damaged", {"log": self._log, "size": before.size})
            msg = "the log's head does not agree with itself"
            raise LedgerUnavailableError(msg)
        grown = append(before, (leaf.hash for leaf in leaves))
        await connection.execute(
            _APPEND,
            self._log,
            before.size,
            [leaf.entry_id for leaf in leaves],
            [leaf.about_id for leaf in leaves],
            [leaf.data for leaf in leaves],
            list(grown.frontier.hashes),
            grown.frontier.root,
            [node.level for node, _ in grown.completed],
            [node.index for node, _ in grown.completed],
            [root for _, root in grown.completed],
            list(stage_ids),
        )

    async def _put_aside(self, connection: Connection, staged: _Staged) -> None:
        """Remove staged rows that the log has; keep apart those that are no entries."""
        if staged.known:
            await connection.execute("SELECT audit_unstage($1)", staged.known)
            # What is left of them has another content than the entry of its id.
            await connection.execute(
                "SELECT audit_refuse($1, $2)",
                staged.known,
                ["duplicate"] * len(staged.known),
            )
        if staged.refused:
            await connection.execute(
                "SELECT audit_refuse($1, $2)",
                [stage_id for stage_id, _, _ in staged.refused],
                [error.problem for _, _, error in staged.refused],
            )
        for _, entry_id, error in staged.refused:
            fields = {"entry_id": entry_id, "problem": error.problem}
            self._alarm("ledger_entry_refused", fields)
        for entry_id in staged.left:
            self._alarm("ledger_key_unknown", {"entry_id": entry_id})

    @staticmethod
    def _sorted(
        error: asyncpg.PostgresError, *, by_call: bool
    ) -> LedgerUnavailableError | RowsRefusedError:
        state = error.sqlstate or "XX000"
        known = by_call or isinstance(error, asyncpg.UniqueViolationError)
        # CF is ours (infra/migrations/sql/audit.sql, budgets.sql), and no job's fault.
        if known and not state.startswith("CF") and not may_pass_later(error):
            return RowsRefusedError(error, by_call=by_call)
        # What the log's own statements refuse is not the fault of any one job.
        msg = f"the log's database refused the batch ({state})"
        return LedgerUnavailableError(msg, retry_after_s=2)


def _outcome(
    job: Job, places: Mapping[str, Placed | EntryError]
) -> Outcome | EntryError:
    found: list[Placed] = []
    for entry_id in (*(leaf.entry_id for leaf in job.leaves), *job.staged):
        place = places.get(entry_id)
        if place is None:
            detail = f"{entry_id} is neither staged nor in the log"
            return EntryError(problem="missing", detail=detail)
        if isinstance(place, EntryError):
            return place
        found.append(place)
    return tuple(found)


def all_found(job: Job, found: Mapping[str, Placed]) -> Outcome:
    """Return where all entries of a job are, or None if one of them is not there."""
    places = [found.get(leaf.entry_id) for leaf in job.leaves]
    same = [
        place
        for leaf, place in zip(job.leaves, places, strict=True)
        if place is not None and place.leaf_hash == leaf.hash
    ]
    return tuple(same) if same and len(same) == len(job.leaves) else None


def _placed(row: asyncpg.Record) -> Placed:
    entry_id = row["entry_id"]
    text = str(entry_id) if isinstance(entry_id, UUID) else entry_id
    return Placed(row["seq"], text, row["leaf_hash"])
