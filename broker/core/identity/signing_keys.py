"""Signing keys of the authorization server: pending, active, retiring, removed.

A ring is the set of keys that access tokens are signed with. Each key carries its own
moments, and its state follows from them and from the time, so that all replicas change
over without a word between them. One key is always pending: published, and not signing,
so that there is one to go over to that everybody knows already.

A key is published twice as long as anybody may keep the published set before it signs
first, and stays published until the last token that it signed has ended everywhere. A
key that is compromised is dropped at once.

Source: RFC 7517 section 5; RFC 9068 section 2.1; NIST SP 800-57 part 1, section 5.3.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from broker.core.identity.claims import CLOCK_AHEAD_S_MAX
from broker.core.identity.tokens import ACCESS_TOKEN_TTL_S_MAX
from broker.core.words.errors import ConflictError, NotFoundError

if TYPE_CHECKING:
    from datetime import datetime

    from broker.core.jwk import PublicKey

RING_KEYS_MAX: Final = 8
JWKS_AGE_S: Final = 300
"""How long anybody may keep the published keys (``Cache-Control: max-age``)."""

RING_AGE_S_MAX: Final = 30
"""How old what a replica knows of the ring may be when it signs."""

ROTATE_EVERY_S: Final = 30 * 86_400


class KeyState(StrEnum):
    """Where a key is in its life; nothing leads back."""

    PENDING = "pending"
    ACTIVE = "active"
    RETIRING = "retiring"
    REMOVED = "removed"
    COMPROMISED = "compromised"


PUBLISHED: Final = frozenset({KeyState.PENDING, KeyState.ACTIVE, KeyState.RETIRING})


@dataclass(frozen=True, slots=True)
class Pace:
    """The times that the life of a key follows from, in seconds.

    ``cache_s``: how long anybody may keep the published set. ``token_s``: longest life
    of a token. ``skew_s``: how far clocks may differ. ``known_s``: how old a replica's
    ring may be. ``rotate_s``: how long a key signs.
    """

    cache_s: int = JWKS_AGE_S
    token_s: int = ACCESS_TOKEN_TTL_S_MAX
    skew_s: int = CLOCK_AHEAD_S_MAX
    known_s: int = RING_AGE_S_MAX
    rotate_s: int = ROTATE_EVERY_S

    @property
    def lead(self) -> timedelta:
        """Return how long a key is published before it signs."""
        return timedelta(seconds=2 * self.cache_s)

    @property
    def tail(self) -> timedelta:
        """Return how long a key is published after it signed last."""
        return timedelta(
            seconds=self.token_s + self.skew_s + self.cache_s + self.known_s
        )


@dataclass(frozen=True, slots=True)
class SigningKey:
    """One key and its moments; ``signs_from`` is None until its turn is decided."""

    key: PublicKey
    published_at: datetime
    signs_from: datetime | None = None
    signs_until: datetime | None = None
    compromised_at: datetime | None = None

    @property
    def kid(self) -> str:
        """Return the name of the key."""
        return self.key.kid


@dataclass(frozen=True, slots=True)
class Ring:
    """Every key that counts or did lately, the earliest published first."""

    keys: tuple[SigningKey, ...]


def state_of(key: SigningKey, *, now: datetime, pace: Pace) -> KeyState:
    """Return where a key is in its life."""
    if key.compromised_at is not None:
        return KeyState.COMPROMISED
    if key.signs_from is None or now < key.signs_from:
        return KeyState.PENDING
    if key.signs_until is None or now < key.signs_until:
        return KeyState.ACTIVE
    if now < key.signs_until + pace.tail:
        return KeyState.RETIRING
    return KeyState.REMOVED


def signing_key(ring: Ring, *, now: datetime, pace: Pace) -> SigningKey | None:
    """Return the key that signs now, or None if the ring has none.

    On a host whose clock is behind it may be the one that is about to sign.
    """
    about_to = None
    for key in ring.keys:
        state = state_of(key, now=now, pace=pace)
        if state is KeyState.ACTIVE:
            return key
        if state is KeyState.PENDING and key.signs_from is not None:
            about_to = about_to or key
    return about_to


def published(ring: Ring, *, now: datetime, pace: Pace) -> tuple[SigningKey, ...]:
    """Return the keys that everybody may verify with; these and no others count."""
    return tuple(
        key for key in ring.keys if state_of(key, now=now, pace=pace) in PUBLISHED
    )


def next_key(ring: Ring, *, now: datetime, pace: Pace) -> SigningKey | None:
    """Return the pending key whose turn comes first, None if there is none."""
    for key in ring.keys:
        if state_of(key, now=now, pace=pace) is KeyState.PENDING:
            return key
    return None


def first_ring(active: PublicKey, pending: PublicKey, *, now: datetime) -> Ring:
    """Return a ring whose first key signs at once: no token was ever issued."""
    return Ring((SigningKey(active, now, signs_from=now), SigningKey(pending, now)))


def due(ring: Ring, *, now: datetime, pace: Pace) -> bool:
    """Return whether the active key has signed for as long as it should."""
    active = signing_key(ring, now=now, pace=pace)
    return (
        active is not None
        and active.signs_from is not None
        and active.signs_until is None
        and active.signs_from + timedelta(seconds=pace.rotate_s) <= now
    )


def rotated(ring: Ring, fresh: PublicKey, *, now: datetime, pace: Pace) -> Ring:
    """Let the pending key sign as soon as everybody knows it, and publish a fresh one.

    Raises:
        ConflictError: A change-over is under way, or there is nothing to go over to.
    """
    active = signing_key(ring, now=now, pace=pace)
    pending = next_key(ring, now=now, pace=pace)
    if active is None or pending is None:
        msg = "there is no key to go over to"
        raise ConflictError(msg, hint="try again in a minute")
    if pending.signs_from is not None:
        msg = f"a rotation is under way until {pending.signs_from:%Y-%m-%d %H:%M:%S}"
        raise ConflictError(msg, hint="wait for it, then rotate again")
    turn = max(now, pending.published_at + pace.lead)
    keys = [
        replace(key, signs_until=turn)
        if key is active
        else replace(key, signs_from=turn)
        if key is pending
        else key
        for key in ring.keys
    ]
    return _kept([*keys, SigningKey(fresh, now)], now=now, pace=pace)


def compromised(
    ring: Ring, kid: str, fresh: PublicKey, *, now: datetime, pace: Pace
) -> Ring:
    """Drop a published key at once; if it signed, the next one signs from now on.

    The next one may then sign earlier than everybody knows it: those who keep the
    published set learn it when that ends, and until then refuse.

    Raises:
        NotFoundError: No such key is published.
    """
    known = {key.kid: key for key in published(ring, now=now, pace=pace)}
    if kid not in known:
        msg = "no key with this id is published"
        raise NotFoundError(msg, hint="`counterfoil keys list` shows those that are")
    keys = [replace(k, compromised_at=now) if k.kid == kid else k for k in ring.keys]
    waiting = [k for k in keys if state_of(k, now=now, pace=pace) is KeyState.PENDING]
    active = signing_key(Ring(tuple(keys)), now=now, pace=pace)
    if active is None or active in waiting:
        # The one that signed is gone: whoever is next signs from this moment on.
        if not waiting:
            return _kept([*keys, SigningKey(fresh, now, now)], now=now, pace=pace)
        turn = replace(waiting[0], signs_from=now)
        keys = [turn if k is waiting[0] else k for k in keys]
    elif active.signs_until is not None and all(k.signs_from is None for k in waiting):
        # The one that was to follow is gone: the active key goes on without an end.
        keys = [replace(k, signs_until=None) if k is active else k for k in keys]
    if not any(k.signs_from is None and k.compromised_at is None for k in keys):
        keys.append(SigningKey(fresh, now))
    return _kept(keys, now=now, pace=pace)


def _kept(keys: list[SigningKey], *, now: datetime, pace: Pace) -> Ring:
    """Leave out what has ended; of the compromised, keep the latest that fit."""
    living = [k for k in keys if state_of(k, now=now, pace=pace) in PUBLISHED]
    ended = [k for k in keys if k.compromised_at is not None]
    room = max(0, RING_KEYS_MAX - len(living))
    shown = {k.kid for k in [*living, *ended[max(0, len(ended) - room) :]]}
    return Ring(tuple(k for k in keys if k.kid in shown))
