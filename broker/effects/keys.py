"""The broker's own keys: made at the first start, loaded at every one, never shown.

Each key signs one sort of thing. Only the token key's public half is in the JWKS; those
of warrant, entry and authority are pinned from files by the parts that verify them.
"""

from __future__ import annotations

import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from broker.core.jwk import Algorithm, PrivateKey, PublicKey, public_to_jwk
from broker.effects.keyfiles import (
    KeyFileError,
    load_key,
    load_public_key,
    make_key,
    publish_key,
    read_secret,
    save_key,
    write_secret,
)

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

SECRET_BYTES: Final = 32

_ALGORITHMS: Final = {
    "token": Algorithm.ES256,
    "warrant": Algorithm.EDDSA,
    "entry": Algorithm.EDDSA,
    "authority": Algorithm.EDDSA,
    "console": Algorithm.EDDSA,
}


@dataclass(frozen=True, slots=True)
class KeyRing:
    """Every key that a broker process holds.

    ``console`` signs sessions of people at the console, and votes on their behalf.
    ``tokens`` are the public keys that access tokens are verified with: the signing one
    and, during a rotation, its predecessor.
    """

    token: PrivateKey
    warrant: PrivateKey
    entry: PrivateKey
    authority: PrivateKey
    console: PrivateKey
    payload_kek: bytes = field(repr=False)
    nonce_secret: bytes = field(repr=False)
    tokens: Mapping[str, PublicKey]

    def jwks(self) -> dict[str, Any]:
        """Return the document at ``jwks_uri``: public halves of token keys only."""
        return {"keys": [public_to_jwk(key) for key in self.tokens.values()]}


def generate_keys(state: Path) -> KeyRing:
    """Make the keys that a state does not have yet, publish their halves, load all.

    Raises:
        KeyFileError: A key was here before and is gone: a new one in its place would
            make everything that the old one signed or sealed void, silently.
    """
    folder, public = state / "broker", state / "public"
    fresh = not any((folder / f"{name}.jwk").exists() for name in _ALGORITHMS)
    for name, algorithm in _ALGORITHMS.items():
        path, half = folder / f"{name}.jwk", public / f"{name}.jwk"
        if not path.exists():
            if half.exists():
                msg = f"{path} is gone; restore it, or reset this state"
                raise KeyFileError(msg)
            save_key(path, make_key(algorithm))
        key = load_key(path)
        if not half.exists():
            publish_key(half, key.public())
        elif load_public_key(half) != key.public():
            msg = f"{half} is not the public half of {path}"
            raise KeyFileError(msg)
    if fresh and not (folder / "payload.kek").exists():
        _make_secret(folder / "payload.kek")
    if not (folder / "nonce.key").exists():
        _make_secret(folder / "nonce.key")
    return load_keys(folder)


def load_keys(folder: Path) -> KeyRing:
    """Load every key of a broker.

    Raises:
        KeyFileError: One is missing, malformed, of the wrong sort or open to others.
    """
    keys = {}
    for name, algorithm in _ALGORITHMS.items():
        path = folder / f"{name}.jwk"
        keys[name] = load_key(path)
        if keys[name].algorithm is not algorithm:
            msg = f"{path} is no key for {algorithm.value}"
            raise KeyFileError(msg)
    if len({key.kid for key in keys.values()}) != len(keys):
        msg = f"{folder}: one key must not do the work of two"
        raise KeyFileError(msg)
    return KeyRing(
        token=keys["token"],
        warrant=keys["warrant"],
        entry=keys["entry"],
        authority=keys["authority"],
        console=keys["console"],
        payload_kek=_secret(folder / "payload.kek"),
        nonce_secret=_secret(folder / "nonce.key"),
        tokens={keys["token"].kid: keys["token"].public()},
    )


def _make_secret(path: Path) -> None:
    write_secret(path, urlsafe_b64encode(secrets.token_bytes(SECRET_BYTES)))


def _secret(path: Path) -> bytes:
    text = read_secret(path).strip()
    try:
        data = urlsafe_b64decode(text + b"=" * (-len(text) % 4))
    except ValueError:
        data = b""
    if len(data) != SECRET_BYTES:
        msg = f"{path} holds no {SECRET_BYTES} bytes in base64url"
        raise KeyFileError(msg)
    return data
