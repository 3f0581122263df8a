"""The memory of single uses: Valkey for DPoP proofs, PostgreSQL for everything else.

Valkey is fast and may forget: it restarts, is flushed, fails over. Whenever it may
have, the epoch in PostgreSQL moves, and for as long as an older proof could still be
shown only proofs with a nonce of the new epoch count. While Valkey is away PostgreSQL
remembers, and every proof must carry a nonce; a replica that has not noticed meets a
nonce it does not know, looks the epoch up, and follows. One that meets none, because it
still reaches a server that the others have left, looks by itself every `NONCE_LOOK_S`.

Assertions carry no nonce, so PostgreSQL alone remembers them.

Source: RFC 9449 sections 8 and 11.1; DESIGN, chapter 7 (Tokens).
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from broker.core.identity.dpop import NONCE_LOOK_S, NonceRule
from broker.core.words.errors import StoreUnavailableError

if TYPE_CHECKING:
    from redis.asyncio.connection import AbstractConnection

    from broker.core.words.identity import OneUse
    from broker.effects.database import Database
    from broker.ports import Clock

VALKEY_S_MAX: Final = 1.0
"""How long Valkey may take to answer before it counts as away, in seconds."""

CONNECTIONS_MAX: Final = 32
PROBE_S: Final = 1.0
PURGE_S: Final = 30.0

_MARK = "cf:{replay}:epoch"
_PREFIX = "cf:{replay}:"
# The mark is compared and the name taken in one step: after a flush the mark is gone.
_FIRST = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return -1 end
if redis.call('SET', KEYS[2], '1', 'NX', 'PX', ARGV[2]) then return 1 end
return 0
"""
# The mark names the server that it was written on: a replica has a copy of it, and a
# connection that still leads to an earlier server has none.
_WRITE = """
local about = redis.call('INFO', 'server')
if string.match(about, 'run_id:(%w+)') ~= ARGV[2] then return 0 end
redis.call('SET', KEYS[1], ARGV[1] .. ':' .. ARGV[2])
return 1
"""
_STATE = "SELECT epoch, keeper, server, changed_at FROM replay_epoch"
_MOVE = "SELECT epoch, keeper, server, changed_at FROM replay_move($1, $2, $3)"


@dataclass(frozen=True, slots=True)
class _State:
    """Who remembers now; epoch 0 is before the first look."""

    epoch: int
    keeper: str
    server: str
    changed_at: datetime


_UNKNOWN = _State(0, "", "", datetime(2000, 1, 1, tzinfo=UTC))


class _AwayError(Exception):
    """Valkey does not answer, or is not the server that it was."""


class ReplayMemory:
    """Remembers single uses across replicas, restarts and the loss of Valkey."""

    def __init__(self, database: Database, *, valkey: Valkey, clock: Clock) -> None:
        """Keep both memories; neither is asked yet."""
        self._database = database
        self._valkey = valkey
        self._clock = clock
        self._state = _UNKNOWN
        self._moving = asyncio.Lock()
        self._looking = asyncio.Lock()
        self._looked_s = self._probed_s = self._purged_s = float("-inf")
        self._probe: asyncio.Task[None] | None = None

    async def rule(self) -> NonceRule:
        """Return what holds as far as this replica knows; `refresh` asks again.

        Raises:
            StoreUnavailableError: Nothing is known yet, and PostgreSQL does not answer.
        """
        if self._state.epoch == 0:
            await self.refresh()
            if self._state.keeper == "sql":
                # At a start it is waited for, once; from then on never.
                await self._try_valkey(self._state)
            return self._rule()
        await self._look()
        if self._state.keeper == "sql":
            self._come_back()
        return self._rule()

    async def refresh(self) -> NonceRule:
        """Ask PostgreSQL what holds, and return it.

        Raises:
            StoreUnavailableError: It does not answer.
        """
        asked_s = time.monotonic()
        self._state = _state(await self._database.row(_STATE))
        self._looked_s = asked_s
        return self._rule()

    async def first_proof(self, use: OneUse, *, epoch: int) -> bool | None:
        """Return whether a proof is used first, or None if the epoch has moved.

        After None the nonce is to be checked again, against the new `rule`.

        Raises:
            StoreUnavailableError: Neither memory answers.
        """
        state = self._state
        if epoch != state.epoch:
            return None
        if state.keeper == "valkey":
            return await self._first_in_valkey(use, state)
        return await self._first_in_sql(use, state)

    async def first_ever(self, use: OneUse) -> bool:
        """Return whether an assertion is used for the first time; PostgreSQL knows.

        Raises:
            StoreUnavailableError: It does not answer.
        """
        await self._purge()
        sql = """
        INSERT INTO seen_once (name, expires_at) VALUES ($1, $2)
        ON CONFLICT DO NOTHING RETURNING true
        """
        return bool(await self._database.value(sql, use.name, use.until))

    async def close(self) -> None:
        """Close the connections to Valkey."""
        if self._probe is not None:
            self._probe.cancel()
            await asyncio.gather(self._probe, return_exceptions=True)
            self._probe = None
        await self._valkey.close()

    async def _look(self) -> None:
        """Ask what holds if that is too long ago; calls meanwhile wait for it."""
        if time.monotonic() - self._looked_s < NONCE_LOOK_S:
            return
        async with self._looking:
            if time.monotonic() - self._looked_s >= NONCE_LOOK_S:
                await self.refresh()

    def _rule(self) -> NonceRule:
        state = self._state
        return NonceRule(state.epoch, state.changed_at, state.keeper != "valkey")

    async def _first_in_valkey(self, use: OneUse, state: _State) -> bool | None:
        left_ms = int((use.until - self._clock.now()).total_seconds() * 1000)
        try:
            answer = await self._valkey.first(
                use.name, mark=state.epoch, server=state.server, left_ms=left_ms
            )
        except _AwayError:
            # What Valkey remembered may be lost. From here on PostgreSQL remembers,
            # and proofs of before are refused for want of the new nonce.
            await self._move(state, "sql", "")
            return None
        if answer is None:
            await self._lost(state)
        return answer

    async def _lost(self, state: _State) -> None:
        """Follow another replica, or move on: this Valkey has forgotten."""
        await self.refresh()
        if self._state == state:
            with suppress(_AwayError):
                await self._adopt(state)
                return
            await self._move(state, "sql", "")

    def _come_back(self) -> None:
        """Let Valkey remember again, if it answers; asked once in PROBE_S.

        No call waits for the answer: a server that hangs would delay them all.
        """
        asked = self._probe is not None and not self._probe.done()
        if asked or time.monotonic() - self._probed_s < PROBE_S:
            return
        self._probed_s = time.monotonic()
        self._probe = asyncio.create_task(self._try_valkey(self._state))

    async def _try_valkey(self, state: _State) -> None:
        with suppress(_AwayError, StoreUnavailableError):
            await self._adopt(state)

    async def _adopt(self, state: _State) -> None:
        server = await self._valkey.server()
        await self._move(state, "valkey", server)
        if self._state.keeper == "valkey":
            # If we die here, the mark is missing, and the next proof moves on again.
            await self._valkey.mark(self._state.epoch, server=server)

    async def _move(self, state: _State, keeper: str, server: str) -> None:
        async with self._moving:
            if self._state.epoch != state.epoch:
                return
            row = await self._database.row(_MOVE, state.epoch, keeper, server)
            self._state = _state(row)

    async def _first_in_sql(self, use: OneUse, state: _State) -> bool | None:
        await self._purge()
        sql = "SELECT replay_first($1, $2, $3)"
        answer = await self._database.value(sql, use.name, use.until, state.epoch)
        if answer is None:
            await self.refresh()
        return None if answer is None else bool(answer)

    async def _purge(self) -> None:
        if time.monotonic() - self._purged_s >= PURGE_S:
            self._purged_s = time.monotonic()
            await self._database.value("SELECT seen_purge()")


class Valkey:
    """One Valkey or Redis, spoken to within VALKEY_S_MAX, and known by its run id."""

    def __init__(self, url: str, *, password: str | None = None) -> None:
        """Keep where it is; nothing is opened yet."""
        pool = BlockingConnectionPool.from_url(
            url,
            **({"password": password} if password is not None else {}),
            max_connections=CONNECTIONS_MAX,
            timeout=VALKEY_S_MAX,
            socket_timeout=VALKEY_S_MAX,
            socket_connect_timeout=VALKEY_S_MAX,
            retry=Retry(NoBackoff(), 1),
            redis_connect_func=self._connected,
        )
        self._client: Redis = Redis.from_pool(pool)
        self._first = self._client.register_script(_FIRST)
        self._write = self._client.register_script(_WRITE)
        self._server = ""

    async def first(
        self, name: bytes, *, mark: int, server: str, left_ms: int
    ) -> bool | None:
        """Take a name for ``left_ms``; None if the mark is not this server's."""
        keys, marked = [_MARK, _PREFIX + name.hex()], f"{mark}:{server}"
        try:
            answer = await self._first(keys=keys, args=[marked, max(left_ms, 1)])
        except (RedisError, OSError, TimeoutError) as error:
            raise _AwayError from error
        # A new connection may have met another server in the place of the old one, with
        # the mark restored from disk, or copied, and the last second lost.
        if self._server != server:
            return None
        return None if answer == -1 else bool(answer)

    async def server(self) -> str:
        """Return the run id of the server that answers at the address now.

        Connections of before may lead to one that was there earlier: they are closed.
        """
        try:
            await self._client.connection_pool.disconnect(inuse_connections=False)
            about: dict[str, Any] = await self._client.info("server")
        except (RedisError, OSError, TimeoutError) as error:
            raise _AwayError from error
        self._server = str(about["run_id"])
        return self._server

    async def mark(self, epoch: int, *, server: str) -> None:
        """Write the epoch under which this server remembers, if it still is the one."""
        try:
            await self._write(keys=[_MARK], args=[epoch, server])
        except (RedisError, OSError, TimeoutError) as error:
            raise _AwayError from error

    async def close(self) -> None:
        """Close all connections."""
        with suppress(RedisError, OSError):
            await self._client.aclose(close_connection_pool=True)

    async def _connected(self, connection: AbstractConnection) -> None:
        """Learn at every new connection which server it leads to."""
        await connection.on_connect()
        await connection.send_command("INFO", "server")
        about = await connection.read_response()
        text = about.decode() if isinstance(about, bytes) else str(about)
        for line in text.splitlines():
            if line.startswith("run_id:"):
                self._server = line.partition(":")[2].strip()


def _state(row: Any) -> _State:  # noqa: ANN401  (asyncpg.Record or None)
    if row is None:
        msg = "the epoch of the replay memory is missing"
        raise StoreUnavailableError(msg)
    return _State(row["epoch"], row["keeper"], row["server"], row["changed_at"])
