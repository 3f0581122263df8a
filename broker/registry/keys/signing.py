"""The ring of signing keys as one signed row: who writes to the table adds no key."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from broker.core.identity.signing_keys import RING_KEYS_MAX, Ring, SigningKey
from broker.core.jwk import Algorithm, JwsError, public_from_jwk, public_to_jwk
from broker.core.words.moment import write_moment
from broker.registry.reading import RowError, moment, only

if TYPE_CHECKING:
    from collections.abc import Mapping

    from broker.registry.authority import AuthorityRow

RING_KIND: Final = "key_ring"
RING_ID: Final = "token"

_MOMENTS = ("signs_from", "signs_until", "compromised_at")
_FIELDS = frozenset({"kid", "jwk", "published_at", *_MOMENTS})


def parse_ring(row: AuthorityRow) -> Ring:
    """Read the ring out of a verified row.

    Raises:
        RowError: It has no key, too many, one twice, one of another sort, or a field
            that is missing or unknown.
    """
    only(row.body, frozenset({"keys"}))
    raw = row.body.get("keys")
    if not isinstance(raw, list) or not 0 < len(raw) <= RING_KEYS_MAX:
        msg = f"keys is no list of 1 to {RING_KEYS_MAX} keys"
        raise RowError(msg)
    keys = tuple(_key(entry) for entry in raw)
    if len({key.kid for key in keys}) != len(keys):
        msg = "keys holds one key twice"
        raise RowError(msg)
    return Ring(keys)


def ring_body(ring: Ring) -> dict[str, Any]:
    """Return the body that `parse_ring` reads."""
    return {"keys": [_written(key) for key in ring.keys]}


def _written(key: SigningKey) -> dict[str, Any]:
    moments = {
        name: write_moment(value)
        for name in _MOMENTS
        if (value := getattr(key, name)) is not None
    }
    return {
        "kid": key.kid,
        "jwk": public_to_jwk(key.key),
        "published_at": write_moment(key.published_at),
    } | moments


def _key(entry: object) -> SigningKey:
    if not isinstance(entry, dict):
        msg = "keys holds something that is no key"
        raise RowError(msg)
    only(entry, _FIELDS)
    jwk: Mapping[str, Any] = entry["jwk"] if isinstance(entry.get("jwk"), dict) else {}
    try:
        key = public_from_jwk(jwk)
    except JwsError as error:
        msg = f"keys holds an unusable key: {error.detail}"
        raise RowError(msg) from None
    if entry.get("kid") != key.kid:
        msg = "keys holds a kid that is not the key's thumbprint"
        raise RowError(msg)
    if key.algorithm is not Algorithm.ES256:
        msg = "keys holds a key of another sort than ES256"
        raise RowError(msg)
    found = {name: moment(entry, name) for name in _MOMENTS if name in entry}
    return SigningKey(key, moment(entry, "published_at"), **found)
