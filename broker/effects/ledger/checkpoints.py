"""Have each new head of the log signed, and know how far the signatures lag behind.

Every replica runs one keeper; they do not know each other. A head that another has had
signed is found in the table, and asking twice gives the same signature.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NoReturn, Protocol
from uuid import UUID

import asyncpg

from broker.core.canonical import digest
from broker.core.transparency.checkpoint import (
    Checkpoint,
    CheckpointError,
    open_checkpoint,
)
from broker.core.transparency.entry_leaf import EntryError
from broker.core.transparency.merkle import MerkleError
from broker.core.transparency.signing import SigningRefusedError, SignRequest
from broker.core.transparency.tlog_proof import TlogProof
from broker.core.words.errors import LedgerUnavailableError, StoreUnavailableError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from broker.core.transparency.signing import Former, SignerHead
    from broker.effects.database import Database
    from broker.effects.ledger.integration import Alarm
    from broker.effects.ledger.postgres import PostgresLedger

LAG_S_MAX: Final = 10.0
"""With the newest checkpoint further behind the log than this, nothing is decided."""

SIGN_EVERY_S_MIN: Final = 0.1
"""Heads are signed at most this often; what comes in between shares the next one."""

LOOK_EVERY_S: Final = 1.0
"""How often the table is looked at when this replica itself appends nothing."""

UNSEEN_S_MAX: Final = 3.0
"""What was true this long ago is no longer taken for true."""

_TRIES: Final = 3
_NOTES_READ: Final = 16
_AGE = """
SELECT extract(epoch FROM clock_timestamp() - integrated_at)::float8
  FROM audit_entry WHERE log = $1 AND seq = $2
"""
_STORE = """
INSERT INTO audit_checkpoint (log, size, note) VALUES ($1, $2, $3)
ON CONFLICT DO NOTHING
"""


class Signer(Protocol):
    """What signs heads; SignerClient is it, over a socket."""

    async def head(self) -> SignerHead:
        """Return the key and the last signed head."""

    async def sign(self, request: SignRequest) -> str:
        """Return the signed note of a head."""


@dataclass(frozen=True, slots=True)
class NewOrigin:
    """The log goes on under another name: somebody ran `counterfoil audit recover`.

    Attributes:
        entry_id: The id for the entry that records it, the same in every replica.
        former: What was signed last under the old name, why and when.
        origin: The new name.
        vkey: The new key.
    """

    entry_id: str
    former: Former
    origin: str
    vkey: str


class CheckpointKeeper:
    """Keeps the newest checkpoint close behind the log."""

    def __init__(
        self,
        ledger: PostgresLedger,
        database: Database,
        signer: Signer,
        *,
        alarm: Alarm,
        on_new_origin: Callable[[NewOrigin], Awaitable[None]],
    ) -> None:
        """Keep what the rounds need; nothing is asked yet.

        Args:
            ledger: The log.
            database: The ledger's own pool, as cf_broker.
            signer: What signs.
            alarm: Told when signer and database disagree.
            on_new_origin: Appends the entry that records a new origin.
        """
        self._ledger = ledger
        self._history = ledger.history
        self._database = database
        self._signer = signer
        self._alarm = alarm
        self._on_new_origin = on_new_origin
        self._poked = asyncio.Event()
        self._round = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None
        self._newest: tuple[Checkpoint, str] | None = None
        # Until signer and database were seen to agree, nothing may be decided.
        self._agree = False
        self._seen_at = -math.inf
        self._behind_since: float | None = None
        self._announced: set[str] = set()
        self._renewed = ""

    async def start(self) -> None:
        """Begin to keep up with the log."""
        self._ledger.on_commit(self._poked.set)
        self._task = asyncio.create_task(self._run(), name="ledger checkpoints")

    async def close(self) -> None:
        """Stop."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    def lag_s(self) -> float:
        """Return how long the oldest entry without a checkpoint has been waiting.

        Infinite while signer and database disagree, or have not been compared.
        """
        if not self._agree:
            return math.inf
        now = time.monotonic()
        if self._behind_since is not None:
            return now - self._behind_since
        unseen = now - self._seen_at
        return unseen if unseen > UNSEEN_S_MAX else 0.0

    def require_current(self) -> None:
        """Refuse to go on once the newest checkpoint is too far behind the log.

        Raises:
            LedgerUnavailableError: It is, or nobody knows.
        """
        lag_s = self.lag_s()
        if lag_s > LAG_S_MAX:
            msg = (
                f"the newest checkpoint is {lag_s:.0f} s behind the log"
                if math.isfinite(lag_s)
                else "the signer has not confirmed that the log is the one it signed"
            )
            hint = "the signer must answer first; see `counterfoil status`"
            raise LedgerUnavailableError(msg, hint=hint, retry_after_s=2)

    @property
    def renewed(self) -> str:
        """The origin, if a person had the log go on under a new one; else empty."""
        return self._renewed

    @property
    def newest(self) -> tuple[Checkpoint, str] | None:
        """The newest checkpoint that verified, and its note."""
        return self._newest

    async def proof(self, seq: int) -> TlogProof:
        """Return the proof that an entry is in the newest checkpoint.

        Raises:
            LedgerUnavailableError: No checkpoint covers it yet, or a part is down.
        """
        if self._newest is None or self._newest[0].size <= seq:
            await self.keep_up()
        if self._newest is None or self._newest[0].size <= seq:
            msg = f"no checkpoint covers entry {seq} yet"
            raise LedgerUnavailableError(msg, retry_after_s=1)
        checkpoint, note = self._newest
        hashes = await self._history.inclusion(seq, checkpoint.size)
        return TlogProof(seq, hashes, note)

    async def keep_up(self) -> None:
        """Compare log and signer once, and have the head signed if it is not.

        Raises:
            LedgerUnavailableError: The database or the signer does not answer, or they
                disagree.
        """
        async with self._round:
            for _ in range(_TRIES):
                if await self._once():
                    return

    async def _run(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_EVERY_S):
                    await self._poked.wait()
            self._poked.clear()
            try:
                await self.keep_up()
            except LedgerUnavailableError:
                # The lag says it, and whoever decides asks for the lag.
                pass
            except Exception as error:  # noqa: BLE001  (nobody else keeps up)
                self._alarm("ledger_keeper_failed", {"error": type(error).__name__})
            await asyncio.sleep(SIGN_EVERY_S_MIN)

    async def _once(self) -> bool:
        """Go one round; False if somebody moved on meanwhile: repeat it."""
        read_at = time.monotonic()
        try:
            head = await self._signer.head()
        except LedgerUnavailableError:
            size, _ = await self._history.head()
            await self._note_lag(size, read_at)
            raise
        last = head.last
        # Read after the signer answered: what it has signed was committed before that.
        size, root = await self._history.head()
        self._renewed = head.log.name if head.former else ""
        if last.size > size:
            self._disagree(f"{last.size} entries were signed for, and it has {size}")
        if last.size == size and last.root != root:
            self._disagree("the signer has signed another root at this size")
        await self._read_notes(head, size)
        await self._note_lag(size, read_at)
        if await self._announce(head):
            return False
        covered = self._newest is not None and self._newest[0].size == size
        new = Checkpoint(last.origin, size, root)
        if size and not covered and not await self._sign(head, new):
            return False
        self._agree = True
        self._seen_at = read_at
        self._behind_since = None
        return True

    async def _note_lag(self, size: int, read_at: float) -> None:
        """Remember since when the log is ahead of what is signed, before we sign."""
        covered = self._newest[0].size if self._newest else 0
        if covered >= size:
            return
        age = await self._value(_AGE, self._ledger.log, covered)
        since = read_at - (age or 0.0)
        if self._behind_since is None or since < self._behind_since:
            self._behind_since = since

    async def _read_notes(self, head: SignerHead, size: int) -> None:
        """Find the newest stored checkpoint that one of the signer's keys signed."""
        if self._newest is not None and self._newest[0].size > size:
            self._newest = None
        first = self._newest[0].size + 1 if self._newest else 0
        verifiers = {each.name: each for each in head.verifiers}
        notes = await self._history.notes(first=first, last=size, count=_NOTES_READ)
        for note in notes:
            log = verifiers.get(note.partition("\n")[0])
            try:
                if log is not None:
                    self._newest = (open_checkpoint(note, log), note)
                    return
            except CheckpointError:
                # Whoever can write to the table can write nonsense; it is passed over.
                self._alarm("ledger_checkpoint_invalid", {"log": self._ledger.log})

    async def _announce(self, head: SignerHead) -> bool:
        """Record a new origin once; True if the log grew by that."""
        origin = head.log.name
        if (
            not head.former
            or origin in self._announced
            or (self._newest is not None and self._newest[0].origin == origin)
        ):
            return False
        vkey = head.log.vkey
        new = NewOrigin(_entry_id(vkey), head.former[-1], origin, vkey)
        try:
            await self._on_new_origin(new)
        except EntryError as error:
            # Another replica has recorded it in its own words.
            if error.problem != "duplicate":
                raise
        self._announced.add(origin)
        return True

    async def _sign(self, head: SignerHead, checkpoint: Checkpoint) -> bool:
        """Have one head signed and stored; False if another replica was faster."""
        try:
            old = head.last.size
            proof = await self._history.consistency(old, checkpoint.size)
            note = await self._signer.sign(SignRequest(checkpoint, old, proof))
            open_checkpoint(note, head.log)
        except SigningRefusedError as refusal:
            # Another replica had a later head signed since we asked for the last one.
            if refusal.problem in {"shrunk", "moved", "wrong_origin"}:
                return False
            self._disagree(str(refusal))
        except (MerkleError, CheckpointError) as error:
            self._disagree(str(error))
        else:
            await self._value(_STORE, self._ledger.log, checkpoint.size, note)
            self._newest = (checkpoint, note)
        return True

    def _disagree(self, why: str) -> NoReturn:
        self._agree = False
        self._alarm("ledger_signer_disagrees", {"log": self._ledger.log, "why": why})
        msg = f"the log is not the one that was signed: {why}"
        hint = "if the database was restored, see `counterfoil audit recover`"
        raise LedgerUnavailableError(msg, hint=hint)

    async def _value(self, sql: str, *args: Any) -> Any:  # noqa: ANN401
        try:
            return await self._database.value(sql, *args)
        except (StoreUnavailableError, asyncpg.PostgresError) as error:
            msg = "the log's database does not answer"
            raise LedgerUnavailableError(msg, retry_after_s=2) from error


def _entry_id(vkey: str) -> str:
    """Return the id of the entry that records a key: the same one in every replica.

    Source: RFC 9562 section 5.8 (version 8: bits of one's own).
    """
    raw = bytearray(bytes.fromhex(digest(vkey))[:16])
    raw[6] = 0x80 | raw[6] & 0x0F
    raw[8] = 0x80 | raw[8] & 0x3F
    return str(UUID(bytes=bytes(raw)))
