"""The outbox: tells Temporal what SQL decided, at least once, from every replica.

A message is leased by one replica for a while, sent, and done; whoever dies with it
gives it back when the lease lapses. A start counts only once the run has asked the
broker about its approval (``approval.started_at``), so that a run which somebody put in
its place is noticed and driven out. Temporal may be away for as long as it likes.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

import structlog

from broker.core.words.errors import BrokerError, UnavailableError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from broker.effects.database import Database

BATCH_MAX: Final = 32
SENDING_MAX: Final = 8
LEASE_S: Final = 30
RETRY_S_MAX: Final = 15
"""Longest wait between two tries to send a message, in seconds."""

ACKNOWLEDGE_S_MAX: Final = 60
"""Longest wait between two tries to start a run that has not asked yet."""

STUCK_TRIES: Final = 4
"""After this many starts without a question, a run of ours is replaced as well."""

POLL_S: Final = 0.5
REVIVE_EVERY_S: Final = 20.0
REVIVE_AFTER_S: Final = 60
"""An approved action that nobody settled for so long gets its run started again."""

# A start is over once its run has asked, or once there is nothing left to wait for.
_TAKE = """
UPDATE outbox o
   SET tries = o.tries + 1, next_at = now() + $2 * interval '1 second'
  FROM (SELECT outbox_id FROM outbox
         WHERE done_at IS NULL AND next_at <= now()
         ORDER BY next_at LIMIT $1 FOR UPDATE SKIP LOCKED) due,
       approval b JOIN action a USING (action_id)
 WHERE o.outbox_id = due.outbox_id AND b.approval_id = o.topic
RETURNING o.outbox_id, o.kind, o.topic, o.key, o.tries,
          b.started_at IS NOT NULL
          OR (b.state <> 'pending' AND a.state <> 'ready') AS over
"""
_DONE = "UPDATE outbox SET done_at = now() WHERE outbox_id = $1"
_LATER = """
UPDATE outbox SET next_at = now() + $2 * interval '1 second'
 WHERE outbox_id = $1 AND done_at IS NULL
"""
_log = structlog.get_logger("outbox")


class Keeper(Protocol):
    """Whoever keeps time: Temporal."""

    async def start(self, approval_id: str) -> None:
        """Start the run of an approval; one that runs already is left alone."""

    async def tell(self, approval_id: str, message_id: str) -> bool:
        """Tell the run that something happened; False if it refused the message."""

    async def drive_out(self, approval_id: str, *, stuck: bool) -> bool:
        """End a run that squats on an approval's id; return whether there was one."""


@dataclass(frozen=True, slots=True)
class _Message:
    outbox_id: int
    kind: str
    approval_id: str
    key: str
    tries: int
    over: bool


class Outbox:
    """Sends what is due; ``nudge`` when there is something new."""

    def __init__(self, database: Database, *, keeper: Keeper) -> None:
        """Keep where messages are, and whom they are for."""
        self._database = database
        self._keeper = keeper
        self._news = asyncio.Event()
        self._slots = asyncio.Semaphore(SENDING_MAX)
        self._reachable = True
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to send, beside whatever else this process does."""
        self._task = asyncio.create_task(self.run(), name="outbox")

    async def close(self) -> None:
        """Stop sending; what is under way is sent again when its lease has lapsed."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None

    def nudge(self) -> None:
        """Say that a message was just stored by this replica."""
        self._news.set()

    async def run(self) -> None:
        """Send for ever; a part that is down only delays it."""
        loop = asyncio.get_running_loop()
        revive_at = loop.time() + REVIVE_EVERY_S
        while True:
            sent = await self._round(self.send_due)
            if loop.time() >= revive_at:
                revive_at = loop.time() + REVIVE_EVERY_S
                await self._round(self.revive)
            if sent < BATCH_MAX:
                self._news.clear()
                await self._wait()

    async def send_due(self) -> int:
        """Send what is due, up to BATCH_MAX; return how many messages were taken.

        Raises:
            StoreUnavailableError: the database does not answer.
        """
        rows = await self._database.rows(_TAKE, BATCH_MAX, LEASE_S)
        messages = [
            _Message(
                outbox_id=row["outbox_id"],
                kind=row["kind"],
                approval_id=str(row["topic"]),
                key=row["key"],
                tries=row["tries"],
                over=row["over"],
            )
            for row in rows
        ]
        self._reachable = True
        await asyncio.gather(*(self._send(message) for message in messages))
        return len(messages)

    async def revive(self, *, after_s: int = REVIVE_AFTER_S) -> int:
        """Start again what was approved, and then settled by nobody."""
        revived: int = await self._database.value("SELECT outbox_revive($1)", after_s)
        if revived:
            _log.warning("runs_revived", count=revived)
        return revived

    async def _round(self, work: Callable[[], Awaitable[int]]) -> int:
        """Do one piece of work; whatever goes wrong, the next round may go well."""
        try:
            return await work()
        except UnavailableError as error:
            _log.info("outbox_waits", detail=error.detail)
        except Exception:  # noqa: BLE001  (a loop that must go on)
            _log.exception("outbox_failed")
        return 0

    async def _wait(self) -> None:
        try:
            async with asyncio.timeout(POLL_S):
                await self._news.wait()
        except TimeoutError:
            return

    async def _send(self, message: _Message) -> None:
        async with self._slots:
            if message.kind == "start" and message.over:
                await self._database.value(_DONE, message.outbox_id)
                return
            if not self._reachable:
                # One call has just found that Temporal is away: spare it the others.
                await self._later(message)
                return
            try:
                done = await self._sent(message)
            except BrokerError as error:
                self._reachable = False
                _log.info("temporal_waits", detail=error.detail, tries=message.tries)
                await self._later(message)
                return
        if done:
            await self._database.value(_DONE, message.outbox_id)
        else:
            await self._later(message)

    async def _sent(self, message: _Message) -> bool:
        """Send a message; return whether it needs no other try."""
        approval_id = message.approval_id
        if message.kind == "start":
            if message.tries > 1:
                stuck = message.tries > STUCK_TRIES
                if await self._keeper.drive_out(approval_id, stuck=stuck):
                    _log.warning("run_driven_out", approval=approval_id)
            await self._keeper.start(approval_id)
            return False
        if await self._keeper.tell(approval_id, message.key):
            return True
        if await self._keeper.drive_out(approval_id, stuck=False):
            _log.warning("run_driven_out", approval=approval_id)
            return False
        # One of ours that has had its fill: it looks at the clock all the same.
        return True

    async def _later(self, message: _Message) -> None:
        most = ACKNOWLEDGE_S_MAX if message.kind == "start" else RETRY_S_MAX
        if not self._reachable:
            most = RETRY_S_MAX
        wait_s = min(most, 2 ** min(message.tries, 10))
        await self._database.value(_LATER, message.outbox_id, wait_s)
