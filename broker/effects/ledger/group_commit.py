"""Put what many callers hand in at the same time into one transaction.

While one batch is committed, the next gathers by itself: under load batches grow, and
a lone caller waits for nobody. Measured against one transaction per entry in
tests/bench/ledger.py.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Final

from broker.core.words.errors import LedgerUnavailableError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from broker.effects.ledger.jobs import Job

BATCH_LEAVES_MAX: Final = 500
"""Entries in one batch; a single job may exceed it and then has a batch to itself."""

BATCH_BYTES_MAX: Final = 4_194_304
"""Bytes of entries in one batch, likewise."""

WAITING_MAX: Final = 5_000
"""Jobs that may wait; one more is refused at once rather than late."""


class GroupCommit:
    """One task that writes batches; use it from one event loop."""

    def __init__(self, write: Callable[[Sequence[Job]], Awaitable[None]]) -> None:
        """Keep what writes a batch.

        Args:
            write: Sets ``done`` of every job it is given, and never raises.
        """
        self._write = write
        self._waiting: deque[Job] = deque()
        self._there = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._closed = False

    def submit(self, job: Job) -> None:
        """Put a job into the next batch.

        Raises:
            LedgerUnavailableError: Too many wait already, or the ledger is closed.
        """
        if self._closed or len(self._waiting) >= WAITING_MAX:
            why = "is closed" if self._closed else "has too many entries waiting"
            msg = f"the log {why}"
            raise LedgerUnavailableError(msg, retry_after_s=1)
        self._waiting.append(job)
        self._there.set()
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name="ledger group commit")

    @property
    def idle(self) -> bool:
        """Whether nothing waits for the next batch."""
        return not self._waiting

    async def close(self) -> None:
        """Write what waits, and take nothing more."""
        self._closed = True
        self._there.set()
        if self._task is not None:
            await self._task

    async def _run(self) -> None:
        while self._waiting or not self._closed:
            await self._there.wait()
            self._there.clear()
            while self._waiting:
                await self._write(self._take())

    def _take(self) -> list[Job]:
        batch = [self._waiting.popleft()]
        leaves, weight = len(batch[0].leaves), batch[0].weight
        while self._waiting:
            job = self._waiting[0]
            leaves += max(1, len(job.leaves) + len(job.staged))
            weight += job.weight
            if leaves > BATCH_LEAVES_MAX or weight > BATCH_BYTES_MAX:
                break
            batch.append(self._waiting.popleft())
        return batch
