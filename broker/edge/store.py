"""Ask PostgreSQL, as the edge's own role: spent warrants, epochs, and what rows need.

Everything here fails closed: what the database does not say within ANSWER_S_MAX is a
StoreError, and the edge refuses.
"""

from __future__ import annotations

import json
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final, Protocol

import asyncpg

from broker.edge.identity import IdentityError, read_secret

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from datetime import datetime
    from pathlib import Path

ANSWER_S_MAX: Final = 2.0
CONNECTIONS_MAX: Final = 8
_SPEND = "SELECT fresh, epochs FROM edge_spend($1, $2, $3, $4, $5)"
_EPOCHS = "SELECT edge_epochs($1)"
_PURGE = "SELECT edge_purge()"
_ALONE = "SELECT pg_advisory_xact_lock($1)"
_FAILURES = (
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    IdentityError,
    OSError,
    TimeoutError,
)


class StoreError(RuntimeError):
    """PostgreSQL did not answer, or answered what makes no sense."""


@dataclass(frozen=True, slots=True)
class Epochs:
    """Current revocation epochs, and the monotonic time before they were asked for."""

    scopes: Mapping[str, int]
    asked_at: float

    def revoked(self, named: tuple[tuple[str, int], ...]) -> bool:
        """Return whether a scope has moved beyond the epoch that a warrant names."""
        return any(self.scopes.get(scope, 0) > epoch for scope, epoch in named)


class Spendable(Protocol):
    """A single-use order: a warrant, or one to carry a notice or try a credential."""

    @property
    def warrant_id(self) -> str:
        """Return the id that may be spent once."""

    @property
    def action_id(self) -> str:
        """Return what it is spent for."""

    @property
    def edge(self) -> str:
        """Return the edge that it is made out to."""

    @property
    def expires_at(self) -> datetime:
        """Return when it ends."""

    @property
    def epochs(self) -> tuple[tuple[str, int], ...]:
        """Return what it is issued under."""


class Transaction(Protocol):
    """A connection inside of a transaction."""

    async def fetchrow(self, query: str, *values: Any) -> Any:  # noqa: ANN401
        """Return the first row of an answer, or None."""


class _Connection(asyncpg.Connection):  # type: ignore[misc, type-arg, unused-ignore]
    """A connection that is handed back without another round trip.

    The edge sets no session state, locks for transactions only, and listens to nothing.
    """

    __slots__ = ()

    def get_reset_query(self) -> str:
        """Return nothing to run."""
        return ""


class Store:
    """The edge's view of PostgreSQL."""

    def __init__(self, url: str, *, password_file: Path | None) -> None:
        """Keep where the database is; `open` makes the pool."""
        self._url = url
        self._password_file = password_file
        self._pool: asyncpg.Pool[Any] | None = None

    async def open(self) -> None:
        """Make the pool; it connects when it is first asked."""
        self._pool = await asyncpg.create_pool(
            self._url,
            min_size=0,
            max_size=CONNECTIONS_MAX,
            timeout=ANSWER_S_MAX,
            command_timeout=ANSWER_S_MAX,
            connection_class=_Connection,
            server_settings={"application_name": "counterfoil-edge"},
            password=None if self._password_file is None else self._password,
        )

    async def close(self) -> None:
        """Close the pool at once; nothing in it waits to be written."""
        if self._pool is not None:
            self._pool.terminate()

    async def spend(self, warrant: Spendable) -> tuple[bool, Epochs]:
        """Spend a warrant; return whether it was unspent, and its current epochs.

        Raises:
            StoreError: Nobody knows; the warrant counts as spent.
        """
        asked_at = time.monotonic()
        row = await self.fetch(
            _SPEND,
            warrant.warrant_id,
            warrant.action_id,
            warrant.edge,
            warrant.expires_at,
            [scope for scope, _ in warrant.epochs],
        )
        if row is None:
            msg = "the database did not say whether the warrant was spent"
            raise StoreError(msg)
        return row["fresh"] is True, Epochs(_scopes(row["epochs"]), asked_at)

    async def epochs(self, scopes: list[str]) -> Epochs:
        """Return the current epochs of some scopes.

        Raises:
            StoreError: PostgreSQL did not say.
        """
        asked_at = time.monotonic()
        row = await self.fetch(_EPOCHS, scopes)
        return Epochs(_scopes(row[0] if row else None), asked_at)

    async def purge(self) -> int:
        """Delete spent warrants that expired long ago; return how many.

        Raises:
            StoreError: PostgreSQL did not answer.
        """
        row = await self.fetch(_PURGE)
        return int(row[0]) if row else 0

    async def fetch(self, query: str, *values: Any) -> asyncpg.Record | None:  # noqa: ANN401
        """Return the first row of an answer, or None.

        Raises:
            StoreError: PostgreSQL did not answer, or refused.
        """
        rows = await self.fetch_all(query, *values)
        return rows[0] if rows else None

    async def fetch_all(self, query: str, *values: Any) -> list[asyncpg.Record]:  # noqa: ANN401
        """Return the rows of an answer.

        Raises:
            StoreError: PostgreSQL did not answer, or refused.
        """
        async with self._connection() as connection:
            return list(await connection.fetch(query, *values))

    @asynccontextmanager
    async def alone(self, name: bytes, *, wait_s: float) -> AsyncIterator[Transaction]:
        """Be the only one in the database who does what ``name`` says, for a moment.

        What is stored with what is yielded is there when the block has ended well.

        Raises:
            StoreError: PostgreSQL did not answer, or somebody else was at it too long.
        """
        number = int.from_bytes(sha256(name).digest()[:8], "big", signed=True)
        async with self._connection() as connection, connection.transaction():
            await connection.execute(_ALONE, number, timeout=wait_s)
            yield connection

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[Any]:
        if self._pool is None:
            msg = "the store is not open"
            raise StoreError(msg)
        try:
            async with self._pool.acquire(timeout=ANSWER_S_MAX) as connection:
                yield connection
        except _FAILURES as error:
            # The text of a server's error may quote values: its class is enough.
            msg = f"PostgreSQL: {type(error).__name__}"
            raise StoreError(msg) from None

    def _password(self) -> str:
        # Read for each connection, so that a changed password needs no restart.
        assert self._password_file is not None  # noqa: S101
        return read_secret(self._password_file).decode("utf-8").removesuffix("\n")


def _scopes(answer: object) -> dict[str, int]:
    scopes = json.loads(answer) if isinstance(answer, str) else None
    if not isinstance(scopes, dict) or not all(
        type(epoch) is int for epoch in scopes.values()
    ):
        msg = "the epochs make no sense"
        raise StoreError(msg)
    return scopes
