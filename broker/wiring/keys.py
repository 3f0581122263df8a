"""The ring of signing keys: made at the first start, looked after ever since."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import structlog

from broker.api.identity import signing
from broker.api.identity.evidence import entry_of
from broker.api.identity.widening import staleness
from broker.core.words.entry import EntryKind
from broker.core.words.errors import UnavailableError
from broker.effects.keys import earlier_token_key, end_token_file
from broker.effects.signing import SealedKeys, SigningRing, Where, key_provider
from broker.sealing import SealError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from broker.api.identity.desk import Desk
    from broker.effects.database import Database
    from broker.effects.keys import KeyRing
    from broker.effects.registry import Registry
    from broker.ports import Ports
    from broker.settings import Settings

TEND_EVERY_S: Final = 60
STALE_EVERY_S: Final = 3_600

_log = structlog.get_logger("broker")


def signing_ring(
    settings: Settings,
    keys: KeyRing,
    ports: Ports,
    *,
    database: Database,
    registry: Registry,
) -> SigningRing:
    """Return what signs and publishes; nothing is read yet."""
    where = Where(settings.tenant, settings.environment)
    kek = key_provider(settings.signing_kek_file, settings.signing_transit)
    halves = SealedKeys(database, kek=kek, where=where)
    return SigningRing(
        registry, halves, clock=ports.clock, nonce_secret=keys.nonce_secret
    )


def alarm(word: str, more: Mapping[str, object]) -> None:
    """Tell the operators of what must not wait."""
    _log.error("alarm", alarm=word, **more)


class KeyTender:
    """Makes the ring if there is none, and rotates it when it is time.

    The worker's schedule tells the broker to rotate if it is due; this does the same
    where there is no Temporal, and in every replica: the row decides who was first.
    """

    def __init__(self, settings: Settings, desk: Desk, ring: SigningRing) -> None:
        """Keep what is looked after."""
        self._settings = settings
        self._desk = desk
        self._ring = ring
        self._last: datetime | None = None
        self._told: datetime | None = None

    async def start(self) -> None:
        """Make the ring if there is none; if that cannot be done now, it is later."""
        try:
            await self._found()
        except (UnavailableError, SealError) as error:
            _log.warning("signing_ring_waits", detail=str(error))
        await self._ring.start()

    async def close(self) -> None:
        """Stop reading the ring."""
        await self._ring.close()

    async def tend(self) -> None:
        """Do what is due; often called, and seldom doing anything."""
        now = self._desk.clock.now()
        if self._last and (now - self._last).total_seconds() < TEND_EVERY_S:
            return
        await self._found()
        await self._ring.refresh()
        await signing.rotate_if_due(self._desk)
        await self._ring.forget()
        self._last = now
        if self._told and (now - self._told).total_seconds() < STALE_EVERY_S:
            return
        await staleness.tell(self._desk, alarm)
        self._told = now

    async def _found(self) -> None:
        state = self._settings.state
        first = earlier_token_key(state)
        detail: dict[str, Any] = {
            "what": "signing_key.first",
            "by": "bootstrap",
            "kind": "key_ring",
            "id": "token",
            "kid": first.kid if first else None,
            "scopes": [],
        }
        entry = entry_of(self._desk, EntryKind.AUTHORITY, detail)
        await self._ring.found(first, entry)
        if first is not None:
            # The ring is durable, and this key in it. If we die before this line, the
            # next start finds the ring and removes the file.
            end_token_file(state)
