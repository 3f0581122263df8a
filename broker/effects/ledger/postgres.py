"""The audit log over PostgreSQL: entries in, places and proofs out."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Final

from broker.core.transparency.entry_leaf import EntryError
from broker.core.words.errors import LedgerUnavailableError
from broker.effects.database import unstorable
from broker.effects.ledger.group_commit import GroupCommit
from broker.effects.ledger.history import History
from broker.effects.ledger.integration import Integrator, RowsRefusedError, all_found
from broker.effects.ledger.jobs import LEAVES_MAX, Job, Leaf, Placed, read_leaf

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from broker.core.jwk import PublicKey
    from broker.effects.database import Database
    from broker.effects.ledger.integration import Alarm
    from broker.effects.ledger.jobs import Outcome, SqlCall

ANSWER_S_MAX: Final = 4.0
"""No caller waits longer than this for its entry."""

SWEEP_EVERY_S: Final = 1.0
"""How often a replica looks for entries whose own replica is gone."""

LOG: Final = "main"
"""Name of the log in the tables; a tenant's database holds one."""


class PostgresLedger:
    """One replica's access to the log; use it from one event loop.

    Entries are signed before they come here, and verified here before they count.
    """

    def __init__(
        self,
        database: Database,
        *,
        keys: Callable[[], Mapping[str, PublicKey]],
        alarm: Alarm,
        log: str = LOG,
    ) -> None:
        """Keep what the log needs; nothing is opened yet.

        Args:
            database: A pool of the ledger's own, as cf_broker: callers that wait here
                must not hold the connections that the batch needs.
            keys: Gives the entry keys that are accepted now, by key id.
            alarm: Told about entries that do not verify, and a damaged head.
            log: Name of the log in the tables.
        """
        self.log = log
        self.history = History(database, log=log)
        self._keys = keys
        self._integrator = Integrator(database, log=log, keys=keys, alarm=alarm)
        self._group = GroupCommit(self._write)
        self._committed: list[Callable[[], None]] = []
        self._sweeper: asyncio.Task[None] | None = None

    @property
    def keys(self) -> Mapping[str, PublicKey]:
        """Return every key that an entry of this log may be signed with, by id."""
        return self._keys()

    def on_commit(self, told: Callable[[], None]) -> None:
        """Have ``told`` called after each batch that this replica committed."""
        self._committed.append(told)

    async def start(self) -> None:
        """Begin to look for entries that nobody integrates."""
        self._sweeper = asyncio.create_task(self._sweep_for_ever(), name="ledger sweep")

    async def close(self) -> None:
        """Write what waits, and stop."""
        if self._sweeper is not None:
            self._sweeper.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._sweeper
        await self._group.close()

    async def append(self, leaves: Sequence[bytes]) -> tuple[Placed, ...]:
        """Integrate sealed entries; they are durable when this returns.

        Handing in the same bytes again, after an error, gives the place they have.

        Args:
            leaves: 1 to LEAVES_MAX sealed entries (see entry_leaf.seal_entry).

        Raises:
            EntryError: One is no entry of ours, or another entry has its id.
            LedgerUnavailableError: The log cannot take them now.
        """
        outcome = await self._done(self._job(self._read(leaves)))
        assert outcome is not None  # noqa: S101  (only a call can say no)
        return outcome

    async def append_with(
        self, leaves: Sequence[bytes], call: SqlCall
    ) -> tuple[Placed, ...] | None:
        """Integrate entries and store rows of the caller's own in one transaction.

        Args:
            leaves: 0 to LEAVES_MAX sealed entries.
            call: Makes the rows; see SqlCall for how calls of one batch are joined.

        Returns:
            Where the entries are; None if the call stored nothing, and then they were
            not recorded.

        Raises:
            EntryError: One is no entry of ours, or another entry has its id.
            LedgerUnavailableError: The log cannot take them now.
            InvalidError: A text of this caller's rows holds U+0000.
            asyncpg.PostgresError: PostgreSQL refused this caller's rows.
        """
        return await self._done(self._job(self._read(leaves), call=call))

    async def integrate(self, entry_ids: Sequence[str]) -> tuple[Placed, ...]:
        """Integrate entries that a committed transaction has staged.

        Raises:
            EntryError: One does not verify and was put aside, or was never staged.
            LedgerUnavailableError: The log cannot take them now.
        """
        if not 1 <= len(entry_ids) <= LEAVES_MAX:
            msg = f"1 to {LEAVES_MAX} entries at a time"
            raise ValueError(msg)
        outcome = await self._done(self._job((), staged=tuple(entry_ids)))
        assert outcome is not None  # noqa: S101  (only a call can say no)
        return outcome

    async def sweep(self) -> None:
        """Integrate what was staged and left, unless another replica is at it.

        Raises:
            LedgerUnavailableError: The database does not answer.
        """
        await self._done(self._job((), sweep=True))

    def _read(self, leaves: Sequence[bytes]) -> tuple[Leaf, ...]:
        if len(leaves) > LEAVES_MAX:
            msg = f"at most {LEAVES_MAX} entries at a time"
            raise ValueError(msg)
        keys = self._keys()
        return tuple(read_leaf(each, keys) for each in leaves)

    @staticmethod
    def _job(
        leaves: tuple[Leaf, ...],
        *,
        staged: tuple[str, ...] = (),
        call: SqlCall | None = None,
        sweep: bool = False,
    ) -> Job:
        done: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        return Job(done, leaves, staged, call, sweep)

    async def _done(self, job: Job) -> Outcome:
        # Whoever stopped waiting is not told; asyncio would complain about that.
        job.done.add_done_callback(lambda done: done.cancelled() or done.exception())
        self._group.submit(job)
        try:
            async with asyncio.timeout(ANSWER_S_MAX):
                # A caller that goes away takes nobody else's entries with it.
                return await asyncio.shield(job.done)
        except TimeoutError:
            msg = f"the log did not answer within {ANSWER_S_MAX:g} s"
            raise LedgerUnavailableError(msg, retry_after_s=2) from None

    async def _write(self, jobs: Sequence[Job]) -> None:
        """Commit a batch; if it cannot be, find out whose fault it is."""
        try:
            outcomes = await self._integrator.commit(jobs)
        except RowsRefusedError as error:
            if len(jobs) == 1:
                await self._answer_alone(jobs[0], error)
                return
            # Nobody pays for another caller's row: halve until it stands alone.
            half = len(jobs) // 2
            await self._write(jobs[:half])
            await self._write(jobs[half:])
        except Exception as error:  # noqa: BLE001  (the one task of all callers)
            known = isinstance(error, LedgerUnavailableError)
            for job in jobs:
                _fail(job, error if known else _unexpected(error))
        else:
            for job, outcome in zip(jobs, outcomes, strict=True):
                _settle(job, outcome)
            for told in self._committed:
                told()

    async def _answer_alone(self, job: Job, refused: RowsRefusedError) -> None:
        """Answer a job that PostgreSQL refused by itself.

        If an earlier attempt was committed and its answer lost, all is well.
        """
        ids = [leaf.entry_id for leaf in job.leaves]
        try:
            found = await self._integrator.find(ids)
        except LedgerUnavailableError as error:
            _fail(job, error)
            return
        places = all_found(job, found)
        if places is not None:
            _settle(job, places)
        elif refused.by_call:
            _fail(job, unstorable(refused.cause) or refused.cause)
        else:
            detail = "the log has another entry with this id"
            _fail(job, EntryError(problem="duplicate", detail=detail))

    async def _sweep_for_ever(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_EVERY_S)
            # Nobody waits for this: what does not answer now is asked again.
            with contextlib.suppress(LedgerUnavailableError):
                await self.sweep()


def _settle(job: Job, outcome: Outcome | EntryError) -> None:
    if isinstance(outcome, EntryError):
        _fail(job, outcome)
    elif not job.done.done():
        job.done.set_result(outcome)


def _fail(job: Job, error: Exception) -> None:
    if not job.done.done():
        job.done.set_exception(error)


def _unexpected(error: Exception) -> LedgerUnavailableError:
    unavailable = LedgerUnavailableError("the log failed in an unexpected way")
    unavailable.__cause__ = error
    return unavailable
