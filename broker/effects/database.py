"""The pool of PostgreSQL connections, and one way to turn its failures into ours."""

from __future__ import annotations

import asyncio
import contextlib
import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeAlias
from urllib.parse import parse_qs, unquote, urlsplit

import asyncpg

from broker.core.words.errors import StoreUnavailableError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

Connection: TypeAlias = "asyncpg.pool.PoolConnectionProxy[asyncpg.Record]"

POOL_MAX = 16
CONNECT_S_MAX = 3.0
ANSWER_S_MAX = 3.5
RELEASE_S_MAX = 1.0
RETRY_AFTER_S = 2
_DOWN = (
    OSError,
    TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.CannotConnectNowError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.TooManyConnectionsError,
    # A connection whose end is read while it is used.
    asyncpg.InternalClientError,
)


class _Connection(asyncpg.Connection):  # type: ignore[misc, type-arg, unused-ignore]
    """A connection that is handed back without another round trip.

    The broker sets no session state, locks for transactions only, and listens to
    nothing; a transaction that was left open is rolled back all the same.
    """

    __slots__ = ()

    def get_reset_query(self) -> str:
        """Return nothing to run."""
        return ""


class Database:
    """A lazily opened pool; calls never hang longer than ANSWER_S_MAX.

    Jsonb goes in and out as Python values; a statement is one round trip.
    """

    def __init__(self, url: str, *, password: str, pool_max: int = POOL_MAX) -> None:
        """Keep where to connect; nothing is opened yet."""
        self._options = _options(url)
        if password:
            self._options["password"] = password
        self._pool_max = pool_max
        self._pool: asyncpg.Pool[asyncpg.Record] | None = None
        self._opening = asyncio.Lock()

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """Lend a connection.

        Raises:
            StoreUnavailableError: PostgreSQL does not answer, or went away meanwhile.
        """
        try:
            pool = self._pool or await self._open()
            connection = await pool.acquire(timeout=CONNECT_S_MAX)
            try:
                yield connection
            finally:
                # One that is still being cancelled is not waited for; it is ended. And
                # what was answered stays answered, however giving it back goes.
                with contextlib.suppress(*_DOWN):
                    await pool.release(connection, timeout=RELEASE_S_MAX)
        except _DOWN as error:
            if self._pool is not None:
                # What else is open ended with it: the next call begins afresh.
                await self._pool.expire_connections()
            msg = "the database does not answer"
            hint = "try again; nothing was done"
            raise StoreUnavailableError(
                msg, hint=hint, retry_after_s=RETRY_AFTER_S
            ) from error

    async def value(self, sql: str, *args: Any) -> Any:  # noqa: ANN401
        """Return the first column of the first row."""
        async with self.connection() as connection:
            return await connection.fetchval(sql, *args, timeout=ANSWER_S_MAX)

    async def row(self, sql: str, *args: Any) -> asyncpg.Record | None:  # noqa: ANN401
        """Return the first row, or None."""
        async with self.connection() as connection:
            return await connection.fetchrow(sql, *args, timeout=ANSWER_S_MAX)

    async def rows(self, sql: str, *args: Any) -> list[asyncpg.Record]:  # noqa: ANN401
        """Return all rows."""
        async with self.connection() as connection:
            return list(await connection.fetch(sql, *args, timeout=ANSWER_S_MAX))

    async def close(self) -> None:
        """Close all connections."""
        if self._pool is not None:
            await self._pool.close()
            self._pool = None

    async def _open(self) -> asyncpg.Pool[asyncpg.Record]:
        async with self._opening:
            if self._pool is None:
                self._pool = await asyncpg.create_pool(
                    **self._options,
                    min_size=1,
                    max_size=self._pool_max,
                    timeout=CONNECT_S_MAX,
                    command_timeout=ANSWER_S_MAX,
                    init=_prepare,
                    connection_class=_Connection,
                    server_settings={
                        "application_name": "counterfoil-broker",
                        "synchronous_commit": "on",
                        "jit": "off",
                    },
                )
            return self._pool


async def _prepare(connection: asyncpg.Connection[asyncpg.Record]) -> None:
    await connection.set_type_codec(
        "jsonb", encoder=json.dumps, decoder=json.loads, schema="pg_catalog"
    )


def _options(url: str) -> dict[str, Any]:
    """Take a URL apart; asyncpg would read a percent-encoded socket path wrongly."""
    parts = urlsplit(url)
    query = parse_qs(parts.query)
    host = query["host"][0] if "host" in query else parts.hostname
    options: dict[str, Any] = {
        "host": host,
        "user": unquote(parts.username or ""),
        "database": parts.path.lstrip("/"),
    }
    if parts.password is not None:
        options["password"] = unquote(parts.password)
    if parts.port is not None:
        options["port"] = parts.port
    return options
