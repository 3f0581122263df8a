"""A log in memory that keeps the contract of the real one, and both behind one face."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import asyncpg

from broker.core.jwk import PublicKey
from broker.core.transparency.checkpoint import Checkpoint, sign_checkpoint
from broker.core.transparency.entry_leaf import EntryError
from broker.core.transparency.merkle import Frontier, append
from broker.core.transparency.signing import SignerHead, SignRequest, require_successor
from broker.core.transparency.tlog_proof import TlogProof
from broker.core.words.errors import LedgerUnavailableError
from broker.effects.database import Database
from broker.effects.ledger import CheckpointKeeper, NewOrigin, PostgresLedger, SqlCall
from broker.effects.ledger.jobs import LEAVES_MAX, Leaf, Placed, read_leaf, read_staged
from tests.support.log.made import KEYS, LOG, LOG_KEY, ORIGIN, entry, entry_id, leaf
from tests.support.log.tree import defined_inclusion
from tests.support.servers import BROKER, OWNER
from tests.support.servers import Database as TestDatabase

_FUNCTIONS = """
CREATE TABLE rows_of_mine (number integer PRIMARY KEY);
GRANT SELECT, INSERT ON rows_of_mine TO cf_broker;
CREATE FUNCTION rows_all(p_numbers integer[]) RETURNS void LANGUAGE sql AS $$
    INSERT INTO rows_of_mine SELECT unnest(p_numbers);
$$;
CREATE FUNCTION rows_even(p_numbers integer[]) RETURNS boolean[] LANGUAGE sql AS $$
    INSERT INTO rows_of_mine SELECT n FROM unnest(p_numbers) n WHERE n % 2 = 0;
    SELECT array_agg(n % 2 = 0 ORDER BY at)
      FROM unnest(p_numbers) WITH ORDINALITY AS u (n, at);
$$;
"""

Rows = Callable[..., Sequence[bool] | None]


class Alarms:
    """Remembers what it was told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, dict[str, object]]] = []

    def __call__(self, word: str, fields: Mapping[str, object]) -> None:
        self.told.append((word, dict(fields)))

    @property
    def words(self) -> list[str]:
        return [word for word, _ in self.told]


class FakeSigner:
    """Signs in this process, by the same rule as the signer."""

    def __init__(self) -> None:
        self.last = Checkpoint(ORIGIN, 0, Frontier().root)
        self.asked = 0
        self.down = False

    async def head(self) -> SignerHead:
        self._answer()
        return SignerHead(LOG, self.last)

    async def sign(self, request: SignRequest) -> str:
        self._answer()
        self.asked += 1
        require_successor(self.last, request)
        self.last = request.checkpoint
        return sign_checkpoint(self.last, LOG_KEY)

    def _answer(self) -> None:
        if self.down:
            msg = "the signer does not answer"
            raise LedgerUnavailableError(msg)


class FakeLedger:
    """The log in memory: `PostgresLedger` and `CheckpointKeeper` in one."""

    def __init__(self, keys: Mapping[str, PublicKey] = KEYS) -> None:
        self.keys = dict(keys)
        self.alarm = Alarms()
        self.leaves: list[Leaf] = []
        self.staged: dict[str, bytes] = {}
        self.refused: list[str] = []
        self.stored: set[int] = set()
        self.functions: dict[str, Rows] = {
            "rows_all": self._all,
            "rows_even": self._even,
        }
        self.newest: tuple[Checkpoint, str] | None = None
        self.down = False

    async def append(self, leaves: Sequence[bytes]) -> tuple[Placed, ...]:
        return self._put(self._read(leaves))

    async def append_with(
        self, leaves: Sequence[bytes], call: SqlCall
    ) -> tuple[Placed, ...] | None:
        read = self._read(leaves)
        if read and all(each in self.leaves for each in read):
            return self._put(read)
        self._require_new(read)
        stored = self.functions[call.function](*([arg] for arg in call.args))
        if stored is not None and not stored[0]:
            return None
        return self._put(read)

    async def integrate(self, entry_ids: Sequence[str]) -> tuple[Placed, ...]:
        self._require_count(len(entry_ids), least=1)
        await self.sweep()
        return tuple(self._find(each) for each in entry_ids)

    async def sweep(self) -> None:
        self._answer()
        for each, data in list(self.staged.items()):
            try:
                read = read_staged(data, self.keys, entry_id=each)
                self._require_new((read,))
            except EntryError as error:
                if error.problem == "unknown_key":
                    continue
                self.refused.append(each)
                self.alarm("ledger_entry_refused", {"entry_id": each})
            else:
                self._put((read,))
            del self.staged[each]

    async def keep_up(self) -> None:
        self._answer()
        grown = append(Frontier(), [each.hash for each in self.leaves]).frontier
        head = Checkpoint(ORIGIN, grown.size, grown.root)
        self.newest = (head, sign_checkpoint(head, LOG_KEY))

    async def proof(self, seq: int) -> TlogProof:
        await self.keep_up()
        if seq >= len(self.leaves):
            msg = f"no checkpoint covers entry {seq} yet"
            raise LedgerUnavailableError(msg)
        assert self.newest is not None
        hashes = defined_inclusion(seq, [each.hash for each in self.leaves])
        return TlogProof(seq, tuple(hashes), self.newest[1])

    def lag_s(self) -> float:
        return math.inf if self.down else 0.0

    async def stage(self, data: bytes, *, as_id: str) -> None:
        self.staged[as_id] = data

    async def bytes_at(self, seq: int) -> bytes:
        return self.leaves[seq].data

    async def rows(self) -> set[int]:
        return self.stored

    def _all(self, numbers: Sequence[int]) -> None:
        if self.stored & set(numbers):
            msg = "stored before"
            raise asyncpg.UniqueViolationError(msg)
        self.stored |= set(numbers)

    def _even(self, numbers: Sequence[int]) -> list[bool]:
        self.stored |= {number for number in numbers if number % 2 == 0}
        return [number % 2 == 0 for number in numbers]

    @property
    def ledger(self) -> FakeLedger:
        return self

    @property
    def keeper(self) -> FakeLedger:
        return self

    def _put(self, leaves: Sequence[Leaf]) -> tuple[Placed, ...]:
        self._answer()
        new = [each for each in leaves if each not in self.leaves]
        self._require_new(new)
        self.leaves += new
        return tuple(
            Placed(self.leaves.index(each), each.entry_id, each.hash) for each in leaves
        )

    def _read(self, leaves: Sequence[bytes]) -> tuple[Leaf, ...]:
        self._answer()
        self._require_count(len(leaves), least=0)
        return tuple(read_leaf(each, self.keys) for each in leaves)

    def _require_new(self, leaves: Sequence[Leaf]) -> None:
        known = {each.entry_id for each in self.leaves}
        if known & {each.entry_id for each in leaves}:
            detail = "the log has another entry with this id"
            raise EntryError(problem="duplicate", detail=detail)

    def _find(self, wanted: str) -> Placed:
        for seq, each in enumerate(self.leaves):
            if each.entry_id == wanted:
                return Placed(seq, wanted, each.hash)
        if wanted in self.refused or wanted in self.staged:
            raise EntryError(problem="bad_signature", detail="it does not verify")
        raise EntryError(problem="missing", detail="never staged")

    def _answer(self) -> None:
        if self.down:
            msg = "the log does not answer"
            raise LedgerUnavailableError(msg)

    @staticmethod
    def _require_count(count: int, *, least: int) -> None:
        if not least <= count <= LEAVES_MAX:
            msg = f"{least} to {LEAVES_MAX} entries at a time"
            raise ValueError(msg)


class RealLedger:
    """A ledger and a keeper over a database of the test's own."""

    def __init__(self, database: TestDatabase) -> None:
        self.test_database = database
        self.signer = FakeSigner()
        self.alarm = Alarms()
        self.keys = dict(KEYS)
        self.origins: list[NewOrigin] = []
        self.database: Database
        self.ledger: PostgresLedger
        self.keeper: CheckpointKeeper

    @asynccontextmanager
    async def open(self, *, signer: Any = None) -> AsyncIterator[RealLedger]:
        """Open a pool and a ledger; as many as there are replicas."""
        url = self.test_database.dsn(BROKER)
        password = self.test_database.access.passwords[BROKER]
        self.database = Database(url, password=password, pool_max=3)
        self.ledger = PostgresLedger(
            self.database, keys=lambda: self.keys, alarm=self.alarm
        )
        self.keeper = CheckpointKeeper(
            self.ledger,
            self.database,
            signer or self.signer,
            alarm=self.alarm,
            on_new_origin=self._on_new_origin,
        )
        try:
            yield self
        finally:
            await self.keeper.close()
            await self.ledger.close()
            await self.database.close()

    async def stage(self, data: bytes, *, as_id: str) -> None:
        await self.execute(
            "INSERT INTO audit_stage (entry_id, leaf) VALUES ($1, $2)", as_id, data
        )

    async def bytes_at(self, seq: int) -> bytes:
        found = await self.ledger.history.entry(seq)
        assert found is not None
        return found.leaf

    async def rows(self) -> set[int]:
        found = await self.database.rows("SELECT number FROM rows_of_mine")
        return {row["number"] for row in found}

    async def add_functions(self) -> None:
        """Make the functions that the fake has too: rows_all and rows_even."""
        connection = await self.as_role(OWNER)
        await connection.execute(_FUNCTIONS)
        await connection.close()

    async def execute(self, sql: str, *args: Any) -> None:
        """Run a statement as the broker's role."""
        await self.database.rows(sql, *args)

    async def as_role(self, role: str) -> asyncpg.Connection:
        """Return a connection of one's own; close it."""
        return await asyncpg.connect(self.test_database.dsn(role))

    async def _on_new_origin(self, new: NewOrigin) -> None:
        self.origins.append(new)
        why = new.former.reason
        record = leaf(0, entry_id=new.entry_id, kind="record.origin", detail=why)
        await self.ledger.append([record])


__all__ = [
    "Alarms",
    "FakeLedger",
    "FakeSigner",
    "RealLedger",
    "entry",
    "entry_id",
    "leaf",
]
