"""The keys of issuers that agents' rows trust: pinned ones, or fetched and kept.

An assertion with a key that is not known may cause one fetch per cooldown and issuer,
however many there are; what is known is never dropped for it, and a fetch that fails
changes nothing. Keys that no fetch has confirmed for an hour count no more.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import structlog

from broker.core.canonical import CanonicalError, parse_json
from broker.core.identity.workload import (
    WORKLOAD_KEYS_MAX,
    IssuerKey,
    read_issuer_key,
)
from broker.effects.federation.fetch import (
    JWKS_BYTES_MAX,
    FetchError,
    fetch,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from broker.core.identity.workload import Federation

FRESH_S: Final = 300.0
"""How long fetched keys are used without looking again."""

COOLDOWN_S: Final = 30.0
"""Shortest time between two fetches of one set."""

CONFIRMED_S_MAX: Final = 3_600.0
"""How long keys are used that no fetch confirmed since."""

SETS_MAX: Final = 256
JWKS_DEPTH_MAX: Final = 6

_log = structlog.get_logger("federation")


@dataclass(slots=True)
class _Set:
    """What one address gave, and when it was asked."""

    keys: dict[str, IssuerKey] = field(default_factory=dict)
    confirmed_s: float = float("-inf")
    asked_s: float = float("-inf")
    asking: asyncio.Lock = field(default_factory=asyncio.Lock)


class IssuerKeys:
    """Keys of other issuers, by federation and ``kid``."""

    def __init__(
        self,
        *,
        get: Callable[[Federation], Awaitable[bytes]] = fetch,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Keep how a set is fetched, and a clock that only goes forward."""
        self._get = get
        self._monotonic = monotonic
        self._sets: dict[tuple[str, str, tuple[str, ...]], _Set] = {}

    async def key(self, federation: Federation, kid: str) -> IssuerKey | None:
        """Return the issuer's key of this name, or None if it has none."""
        if federation.keys:
            return _named(federation.keys).get(kid)
        kept = self._set(federation)
        now_s = self._monotonic()
        known = kid in kept.keys
        if known and now_s - kept.confirmed_s < FRESH_S:
            return kept.keys[kid]
        if now_s - kept.asked_s >= COOLDOWN_S:
            async with kept.asking:
                # Whoever waited for another's fetch uses what that one brought.
                if now_s - kept.asked_s >= COOLDOWN_S:
                    await self._ask(federation, kept)
        if self._monotonic() - kept.confirmed_s >= CONFIRMED_S_MAX:
            return None
        return kept.keys.get(kid)

    def _set(self, federation: Federation) -> _Set:
        name = (federation.jwks_url, federation.ca, federation.networks)
        kept = self._sets.get(name)
        if kept is None:
            # Rows are signed, so there are never many; the bound is against our own.
            if len(self._sets) >= SETS_MAX:
                self._sets.pop(next(iter(self._sets)))
            kept = self._sets[name] = _Set()
        return kept

    async def _ask(self, federation: Federation, kept: _Set) -> None:
        kept.asked_s = self._monotonic()
        try:
            found = _read(await self._get(federation))
        except FetchError as error:
            _log.warning("keys_not_fetched", issuer=federation.issuer, why=str(error))
            return
        if found:
            kept.keys, kept.confirmed_s = found, self._monotonic()


def _read(data: bytes) -> dict[str, IssuerKey]:
    try:
        document = parse_json(data, bytes_max=JWKS_BYTES_MAX, depth_max=JWKS_DEPTH_MAX)
    except CanonicalError as error:
        msg = "no strict JSON"
        raise FetchError(msg) from error
    keys = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(keys, list):
        msg = "no JWK set"
        raise FetchError(msg)
    return _named(keys[:WORKLOAD_KEYS_MAX])


def _named(jwks: Iterable[Any]) -> dict[str, IssuerKey]:
    read = [read_issuer_key(jwk) for jwk in jwks if isinstance(jwk, dict)]
    return {key.kid: key for key in read if key is not None}
