"""Rate counters: a Valkey Function, and what counts while Valkey is away.

One call per action charges all its counters or none. Without Valkey, Tier 3 counts in
SQL, where all replicas still share the counters; Tiers 1 and 2 count in this process,
at a slower pace, because a database that must also carry the reads would be the next
to fall. Which counter answered stands in the answer. Losing Valkey loses at most one
burst: amounts never depend on it.

Source: DESIGN, chapter 7 (When parts are down); docs/adr/0008.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError, ResponseError

from broker.core.gcra import gcra_all
from broker.core.limit import rate_answer, smaller
from broker.core.words.budget import CountedBy, RateAnswer
from broker.core.words.effect import Tier
from broker.core.words.errors import UnavailableError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from broker.core.words.budget import RateKey
    from broker.effects.database import Database

LIBRARY = Path(__file__).with_suffix(".lua").read_text(encoding="utf-8")
FUNCTION = "counterfoil_rates_1"
"""Name and version: another version is another function, so two can be in use."""

VALKEY_ANSWER_S_MAX = 0.25
CONNECTIONS_MAX = 32
PROCESS_KEYS_MAX = 20_000
RECOVERY_PAUSE_S = 0.1
RECOVERY_PAUSE_S_MAX = 2.0


@dataclass(frozen=True, slots=True)
class Charge:
    """What a counter did: on its clock, with what each key kept before (0 if new)."""

    allowed: bool
    now_us: int
    tats_us: tuple[int, ...]


class Counter(Protocol):
    """Something that charges all keys, or none if one has no room."""

    counted_by: CountedBy

    async def charge(self, keys: Sequence[RateKey]) -> Charge:
        """Charge one request to every key."""


def valkey_client(
    url: str, *, password: str | None = None, answer_s: float = VALKEY_ANSWER_S_MAX
) -> Redis:
    """Return a pooled client whose every step answers or fails within ``answer_s``.

    Nothing is retried here: a second try costs the caller another wait, and the
    counters that stand in cost it none.
    """
    pool = BlockingConnectionPool.from_url(
        url,
        password=password,
        max_connections=CONNECTIONS_MAX,
        timeout=answer_s,
        socket_timeout=answer_s,
        socket_connect_timeout=answer_s,
        retry=Retry(NoBackoff(), 0),
    )
    return Redis.from_pool(pool)


class ValkeyCounter:
    """Counters in Valkey; its Function library is loaded once, and again if lost."""

    counted_by = CountedBy.VALKEY

    def __init__(self, client: Redis, *, answer_s: float = VALKEY_ANSWER_S_MAX) -> None:
        """Keep the pooled client (see `valkey_client`) and how long a call may take."""
        self._client = client
        self._answer_s = answer_s
        self._loading = asyncio.Lock()
        self._loads = 0

    async def load(self) -> None:
        """Load the library, replacing the same version.

        Raises:
            RedisError, OSError, TimeoutError: Valkey did not take it.
        """
        async with asyncio.timeout(self._answer_s):
            await self._load()

    async def charge(self, keys: Sequence[RateKey]) -> Charge:
        """Charge one request to every key.

        Raises:
            RedisError, OSError, TimeoutError: Valkey did not answer, or refused.
        """
        names = [rate.key for rate in keys]
        paces = [text for rate in keys for text in (rate.interval_us, rate.burst)]
        async with asyncio.timeout(self._answer_s):
            loads = self._loads
            try:
                answer = await self._call(names, paces)
            except ResponseError as error:
                if "Function not found" not in str(error):
                    raise
                # FUNCTION FLUSH, or a restart without persistence.
                await self._load(unless_since=loads)
                answer = await self._call(names, paces)
        if len(answer) != len(keys) + 2 or any(
            type(part) is not int for part in answer
        ):
            msg = "the answer has another form"
            raise ResponseError(msg)
        allowed, now_us, *tats_us = answer
        return Charge(allowed == 1, now_us, tuple(tats_us))

    async def aclose(self) -> None:
        """Close the client's connections."""
        await self._client.aclose()

    async def _call(self, names: list[str], paces: list[int]) -> list[int]:
        call = self._client.fcall(FUNCTION, len(names), *names, *map(str, paces))
        return await cast("Awaitable[list[int]]", call)

    async def _load(self, *, unless_since: int | None = None) -> None:
        async with self._loading:
            # A hundred callers miss it at once: the first one loads it for all.
            if unless_since is None or unless_since == self._loads:
                load = self._client.function_load(LIBRARY, replace=True)
                await cast("Awaitable[str]", load)
                self._loads += 1


class SqlCounter:
    """Counters in PostgreSQL, common to all replicas."""

    counted_by = CountedBy.SQL

    def __init__(self, database: Database) -> None:
        """Keep the pool."""
        self._database = database

    async def charge(self, keys: Sequence[RateKey]) -> Charge:
        """Charge one request to every key.

        Raises:
            StoreUnavailableError: PostgreSQL does not answer.
        """
        said = await self._database.value(
            "SELECT rate_check($1, $2, $3)",
            [rate.key for rate in keys],
            [rate.interval_us for rate in keys],
            [rate.burst for rate in keys],
        )
        return Charge(said["allowed"], said["now_us"], tuple(said["tats_us"]))

    async def sweep(self) -> int:
        """Forget counters that have run empty; return how many."""
        return cast("int", await self._database.value("SELECT rate_sweep()"))


class ProcessCounter:
    """Counters of this process alone; its clock never jumps."""

    counted_by = CountedBy.PROCESS

    def __init__(
        self, *, clock_us: Callable[[], int] = lambda: time.monotonic_ns() // 1_000
    ) -> None:
        """Begin with nothing counted."""
        self._clock_us = clock_us
        self._tats_us: dict[str, int] = {}

    async def charge(self, keys: Sequence[RateKey]) -> Charge:
        """Charge one request to every key; new keys are refused when it is full."""
        now_us = self._clock_us()
        tats = tuple(self._tats_us.get(rate.key, 0) for rate in keys)
        paces = [(rate.interval_us, rate.burst) for rate in keys]
        steps = gcra_all(tats, now_us=now_us, paces=paces)
        if not self._has_room(len(keys), now_us=now_us):
            full = tuple(now_us + interval * burst for interval, burst in paces)
            return Charge(allowed=False, now_us=now_us, tats_us=full)
        for rate, step in zip(keys, steps, strict=True):
            if step.tat_us:
                self._tats_us[rate.key] = step.tat_us
        return Charge(all(step.allowed for step in steps), now_us, tats)

    def _has_room(self, wanted: int, *, now_us: int) -> bool:
        if len(self._tats_us) + wanted > PROCESS_KEYS_MAX:
            self._tats_us = {
                key: tat for key, tat in self._tats_us.items() if tat > now_us
            }
        return len(self._tats_us) + wanted <= PROCESS_KEYS_MAX


class ValkeyRates:
    """The Rates port: Valkey, and the counters that stand in for it.

    A Valkey that is silent is asked again in the background only, so an outage costs
    the calls that are under way one wait of VALKEY_ANSWER_S_MAX, and later calls none.
    """

    def __init__(
        self, valkey: ValkeyCounter, *, sql: SqlCounter, process: ProcessCounter
    ) -> None:
        """Keep the counters; ``start`` loads the Function library."""
        self._valkey = valkey
        self._sql = sql
        self._process = process
        self._recovery: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Load the Function library; without Valkey the others count until it is up."""
        try:
            await self._valkey.load()
        except (RedisError, OSError, TimeoutError):
            self._lose_valkey()

    async def aclose(self) -> None:
        """Stop asking for Valkey, and close the connections to it."""
        if self._recovery is not None:
            self._recovery.cancel()
            await asyncio.gather(self._recovery, return_exceptions=True)
            self._recovery = None
        await self._valkey.aclose()

    async def check(self, keys: Sequence[RateKey], *, tier: Tier) -> RateAnswer:
        """Charge one request to every key, or to none if one has no room.

        Raises:
            StoreUnavailableError: neither Valkey nor, for Tier 3, PostgreSQL answers.
        """
        if not keys:
            return rate_answer((), (), counted_by=CountedBy.NONE)
        if self._recovery is None:
            try:
                return await _ask(self._valkey, keys)
            except ResponseError:
                # It answers, and cannot count this (out of memory, read-only).
                pass
            except (RedisError, OSError, TimeoutError):
                self._lose_valkey()
        if tier is Tier.CONSEQUENTIAL:
            return await _ask(self._sql, keys)
        return await _ask(self._process, smaller(keys))

    def _lose_valkey(self) -> None:
        if self._recovery is None:
            self._recovery = asyncio.create_task(self._find_valkey())

    async def _find_valkey(self) -> None:
        pause_s = RECOVERY_PAUSE_S
        while True:
            await asyncio.sleep(pause_s)
            try:
                await self._valkey.load()
                break
            except (RedisError, OSError, TimeoutError):
                pause_s = min(2 * pause_s, RECOVERY_PAUSE_S_MAX)
        self._recovery = None
        try:
            await self._sql.sweep()
        except UnavailableError:
            # Old counters take room and nothing else; the next outage sweeps them.
            return


async def _ask(counter: Counter, keys: Sequence[RateKey]) -> RateAnswer:
    """Charge the keys; core says what it means, and a refusal by either counts."""
    charge = await counter.charge(keys)
    paces = [(rate.interval_us, rate.burst) for rate in keys]
    steps = gcra_all(charge.tats_us, now_us=charge.now_us, paces=paces)
    answer = rate_answer(keys, steps, counted_by=counter.counted_by)
    return replace(answer, allowed=answer.allowed and charge.allowed)
