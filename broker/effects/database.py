"""The pool of PostgreSQL connections, and one way to turn its failures into ours."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final, TypeAlias
from urllib.parse import parse_qs, unquote, urlsplit

import asyncpg
import structlog
from asyncpg.connect_utils import SessionAttribute

from broker.core.words.errors import InvalidError, StoreUnavailableError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

Connection: TypeAlias = "asyncpg.pool.PoolConnectionProxy[asyncpg.Record]"

POOL_MAX = 16
CONNECT_S_MAX = 3.0
ANSWER_S_MAX = 3.5
RELEASE_S_MAX = 1.0
RETRY_AFTER_S = 2
_JSONB_VERSION = b"\x01"
"""What the binary form of jsonb begins with. Source: PostgreSQL's jsonb_recv."""

_GONE = (
    OSError,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.CannotConnectNowError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    # It became a standby: another server takes writes now.
    asyncpg.ReadOnlySQLTransactionError,
    # A connection whose end is read while it is used.
    asyncpg.InternalClientError,
)
"""No answer: all but one that only took too long end other connections too."""

LATER: Final = frozenset({"08", "25", "40", "53", "55", "57", "58", "XX"})
"""Classes of SQLSTATE that say nothing about the rows: the same call may pass later.

08 connection, 25 wrong state (a standby is read-only), 40 rollback (a deadlock),
53 resources, 55 object in use (a lock was not had in time), 57 intervention,
58 system, XX internal.
"""

_OURS: Final = frozenset({"55000"})
"""What our own functions raise, in one of those classes, about a state of rows."""

_UNSTORABLE: Final = frozenset({"22021", "22P05"})
"""What PostgreSQL says of U+0000, in a text and in JSON."""

_log = structlog.get_logger("database")


def may_pass_later(error: asyncpg.PostgresError) -> bool:
    """Tell whether PostgreSQL refused for a reason that has nothing to do with rows."""
    state = error.sqlstate or "XX000"
    return state[:2] in LATER and state not in _OURS


def unstorable(error: asyncpg.PostgresError) -> InvalidError | None:
    """Return the error for a caller's text that no database can keep, or None."""
    if error.sqlstate not in _UNSTORABLE:
        return None
    msg = "a text holds a character that cannot be stored"
    return InvalidError(msg, hint="leave out U+0000")


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
            InvalidError: A text that was handed in holds U+0000.
            StoreUnavailableError: PostgreSQL does not answer, went away meanwhile, or
                cannot do it now. What it was asked to write may be stored, unless it
                was never connected or said itself why not.
        """
        connection = await self._acquire()
        pool = self._pool
        silent = False
        try:
            try:
                yield connection
            finally:
                # One that is still being cancelled is not waited for; it is ended. And
                # what was answered stays answered, however giving it back goes.
                if pool is not None:
                    silent = not await _given_back(pool, connection)
        except (*_GONE, asyncpg.PostgresError) as error:
            gone = silent or _gone(error)
            if isinstance(error, asyncpg.PostgresError):
                if text := unstorable(error):
                    raise text from None
                if not (gone or may_pass_later(error)):
                    raise
                _log.warning("database_refused", sqlstate=error.sqlstate)
            if gone and pool is not None:
                # What else is open ended with it: the next call begins afresh. One slow
                # statement whose server still takes a cancellation ends nothing.
                await pool.expire_connections()
            raise _unavailable(error) from error

    async def _acquire(self) -> Connection:
        """Return a connection; nothing was asked of it yet, so nothing was done."""
        try:
            pool = self._pool or await self._open()
            return await pool.acquire(timeout=CONNECT_S_MAX)
        except (*_GONE, asyncpg.PostgresError) as error:
            if self._pool is not None and _gone(error):
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
                    # What a standby says of revocations is as old as it likes.
                    target_session_attrs=SessionAttribute.read_write,
                    server_settings={
                        "application_name": "counterfoil-broker",
                        "synchronous_commit": "on",
                        "jit": "off",
                    },
                )
            return self._pool


async def _given_back(
    pool: asyncpg.Pool[asyncpg.Record], connection: Connection
) -> bool:
    """Give a connection back; False if its server does not even take that."""
    try:
        await pool.release(connection, timeout=RELEASE_S_MAX)
    except _GONE:
        return False
    return True


def _gone(error: BaseException) -> bool:
    """Tell whether the server is gone; to be slow is an OSError too, and is not."""
    slow = isinstance(error, TimeoutError) and error.errno is None
    return isinstance(error, _GONE) and not slow


def _unavailable(error: BaseException) -> StoreUnavailableError:
    msg = "the database does not answer"
    hint = "it may have been done: look, or send the same request again as it was"
    if isinstance(error, asyncpg.PostgresError):
        msg = f"the database cannot do this now ({error.sqlstate})"
    return StoreUnavailableError(msg, hint=hint, retry_after_s=RETRY_AFTER_S)


async def _prepare(connection: asyncpg.Connection[asyncpg.Record]) -> None:
    # In binary, because COPY takes nothing else.
    await connection.set_type_codec(
        "jsonb",
        encoder=lambda value: _JSONB_VERSION + json.dumps(value).encode(),
        decoder=lambda data: json.loads(data[1:]),
        schema="pg_catalog",
        format="binary",
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
