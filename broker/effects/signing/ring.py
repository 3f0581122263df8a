"""What one replica knows of the ring of signing keys, read again all the time.

A replica that has not read the ring for RING_AGE_S_MAX signs nothing: it might not know
that a key was dropped. Verifying goes on with what it knows, because every call asks
PostgreSQL for the epochs anyway, and a compromised key has one of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, field, replace
from datetime import timedelta
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Protocol

import structlog

from broker.core.identity.signing_keys import (
    KeyState,
    Pace,
    Ring,
    first_ring,
    published,
    signing_key,
    state_of,
)
from broker.core.jwk import public_to_jwk
from broker.core.words.errors import (
    BrokerError,
    ConflictError,
    StoreUnavailableError,
)
from broker.registry.keys.signing import RING_ID, RING_KIND, parse_ring, ring_body
from broker.registry.reading import RowError
from broker.registry.records import Change
from broker.sealing import SealError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from datetime import datetime

    from broker.core.identity.signing_keys import SigningKey
    from broker.core.jwk import PrivateKey, PublicKey
    from broker.core.words.entry import AuditEntry
    from broker.ports import Clock
    from broker.registry.authority import AuthorityRow

REFRESH_EVERY_S: Final = 0.5

_log = structlog.get_logger("broker")


class Rows(Protocol):
    """The registry, as far as the ring needs it."""

    async def get(self, kind: str, row_id: str) -> AuthorityRow | None:
        """Return the row in force, or None if there is none that verifies."""

    async def put(self, change: Change, entry: AuditEntry) -> AuthorityRow:
        """Sign and add a revision, and log it."""


class Halves(Protocol):
    """Where private halves are kept; `SealedKeys` is one."""

    async def make(self) -> PublicKey:
        """Make a key, seal it, and return its public half."""

    async def keep(self, key: PrivateKey) -> PublicKey:
        """Seal a key, and return its public half."""

    async def open(self, kid: str) -> PrivateKey:
        """Return a key, or raise SealError."""

    async def forget(self, keep: Collection[str]) -> None:
        """Delete every key but these and those that were made just now."""

    async def drop(self, kid: str) -> None:
        """Delete one key at once."""


@dataclass(frozen=True, slots=True)
class _View:
    revision: int
    ring: Ring
    read_at: datetime
    halves: Mapping[str, PrivateKey] = field(repr=False)


class SigningRing:
    """Signs and publishes with what the newest signed row of the ring says."""

    def __init__(
        self, rows: Rows, halves: Halves, *, clock: Clock, nonce_secret: bytes,
        pace: Pace | None = None,
    ) -> None:  # fmt: skip
        """Keep where the ring stands; nothing is read yet."""
        self._rows = rows
        self._halves = halves
        self._clock = clock
        self._nonce_secret = nonce_secret
        self.pace = pace or Pace()
        self._view: _View | None = None
        self._reading: asyncio.Task[None] | None = None

    @property
    def token(self) -> PrivateKey:
        """Return the key that signs access tokens now.

        Raises:
            StoreUnavailableError: What is known is too old, or the key does not open.
        """
        view, now = self._known(), self._clock.now()
        active = signing_key(view.ring, now=now, pace=self.pace)
        old = now - view.read_at > timedelta(seconds=self.pace.known_s)
        half = None if old or active is None else view.halves.get(active.kid)
        if half is None:
            msg = "the signing key is not at hand"
            hint = "look at the broker's log for signing_key_sealed"
            raise StoreUnavailableError(msg, hint=hint, retry_after_s=2)
        return half

    @property
    def tokens(self) -> Mapping[str, PublicKey]:
        """Return the keys that verify access tokens, by kid.

        Raises:
            StoreUnavailableError: The ring was not read yet.
        """
        keys = published(self._known().ring, now=self._clock.now(), pace=self.pace)
        return MappingProxyType({key.kid: key.key for key in keys})

    @property
    def nonce_secret(self) -> bytes:
        """Return what DPoP nonces are made with."""
        return self._nonce_secret

    def jwks(self) -> dict[str, Any]:
        """Return the document at ``jwks_uri``: public halves, and nothing else."""
        return {"keys": [public_to_jwk(key) for key in self.tokens.values()]}

    async def fresh(self) -> PublicKey:
        """Make and seal a key, to be published.

        Raises:
            StoreUnavailableError: The key provider or the database does not answer.
        """
        try:
            return await self._halves.make()
        except SealError as error:
            msg = "the key provider does not answer"
            hint = "nothing has changed; look after it, then try again"
            raise StoreUnavailableError(msg, hint=hint, retry_after_s=5) from error

    async def refresh(self) -> None:
        """Read the ring if it has changed, and open the keys that may sign.

        Raises:
            StoreUnavailableError: The database does not answer.
        """
        now = self._clock.now()
        row = await self._rows.get(RING_KIND, RING_ID)
        if row is None:
            return
        view = self._view
        if view is None or view.revision != row.revision:
            try:
                ring = parse_ring(row)
            except RowError as error:
                _log.error("signing_ring_unreadable", detail=str(error))
                return
            halves = view.halves if view else {}
            view = _View(row.revision, ring, now, halves)
        keys = published(view.ring, now=now, pace=self.pace)
        halves = {k.kid: view.halves[k.kid] for k in keys if k.kid in view.halves}
        for key in keys:
            if key.kid not in halves and self._signs(key, now):
                await self._open(key.kid, halves)
        self._view = replace(view, read_at=now, halves=halves)

    async def forget(self) -> None:
        """Delete the private halves of keys that do not count any more."""
        keys = published(self._known().ring, now=self._clock.now(), pace=self.pace)
        await self._halves.forget({key.kid for key in keys})

    async def drop(self, kid: str) -> None:
        """Delete the private half of a key that was compromised."""
        await self._halves.drop(kid)

    async def found(self, first: PrivateKey | None, entry: AuditEntry) -> bool:
        """Make the ring if there is none; return whether this replica did.

        Args:
            first: The key that signed before there was a ring, if there was one.
            entry: What is recorded.
        """
        if await self._rows.get(RING_KIND, RING_ID) is not None:
            return False
        active = await (self._halves.keep(first) if first else self._halves.make())
        ring = first_ring(active, await self._halves.make(), now=self._clock.now())
        change = Change(
            RING_KIND, RING_ID, ring_body(ring), ("bootstrap",), entry.at, after=0
        )
        try:
            await self._rows.put(change, entry)
        except ConflictError:
            # Another replica made it in the same moment: that one counts.
            return False
        return True

    async def start(self) -> None:
        """Begin to read the ring; if it cannot be read now, it is read later."""
        with contextlib.suppress(BrokerError):
            await self.refresh()
        self._reading = asyncio.create_task(self._read_for_ever(), name="signing-ring")

    async def close(self) -> None:
        """Stop reading it."""
        if self._reading is not None:
            self._reading.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._reading

    async def _read_for_ever(self) -> None:
        while True:
            await asyncio.sleep(REFRESH_EVERY_S)
            try:
                await self.refresh()
            except BrokerError as error:
                _log.info("signing_ring_waits", detail=error.detail)
            except Exception:  # noqa: BLE001  (logged; what is known grows old and ends)
                _log.exception("signing_ring_failed")

    def _signs(self, key: SigningKey, now: datetime) -> bool:
        state = state_of(key, now=now, pace=self.pace)
        return state in {KeyState.PENDING, KeyState.ACTIVE}

    async def _open(self, kid: str, halves: dict[str, PrivateKey]) -> None:
        try:
            halves[kid] = await self._halves.open(kid)
        except SealError as error:
            _log.error("signing_key_sealed", kid=kid, detail=str(error))

    def _known(self) -> _View:
        if self._view is None:
            msg = "the signing keys were not read yet"
            hint = "try again; nothing was done"
            raise StoreUnavailableError(msg, hint=hint, retry_after_s=2)
        return self._view
