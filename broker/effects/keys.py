"""The broker's own keys: made at the first start, loaded at every one, never shown.

Each key signs one sort of thing; the public halves are pinned from files by the parts
that verify them. What access tokens are signed with is kept elsewhere (`signing`).
"""

from __future__ import annotations

import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from broker.core.jwk import Algorithm, PrivateKey, PublicKey
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
from broker.effects.replacing.files import PublishedHalves, SigningFile, finish
from broker.registry.keys.ages import OwnKey

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

SECRET_BYTES: Final = 32
SIGNING_KEK: Final = "signing.kek"

_ALGORITHMS: Final = {
    "warrant": Algorithm.EDDSA,
    "entry": Algorithm.EDDSA,
    "authority": Algorithm.EDDSA,
    "console": Algorithm.EDDSA,
}


@dataclass(frozen=True, slots=True)
class KeyRing:
    """Every key that a broker process holds.

    ``console`` signs sessions of people at the console, and votes on their behalf.
    ``entries`` verify entries: the present key's half, those of earlier ones, and of
    the next. Warrant and entry key are replaced while the process runs: what signs for
    long asks their file for each signature.
    """

    warrant_file: SigningFile
    entry_file: SigningFile
    authority: PrivateKey
    console: PrivateKey
    entries: Mapping[str, PublicKey]
    payload_kek: bytes = field(repr=False)
    nonce_secret: bytes = field(repr=False)

    @property
    def warrant(self) -> PrivateKey:
        """Return the key that signs warrants now."""
        return self.warrant_file()

    @property
    def entry(self) -> PrivateKey:
        """Return the key that signs entries now."""
        return self.entry_file()


def generate_keys(state: Path, *, signing_kek: bool = True) -> KeyRing:
    """Make the keys that a state does not have yet, publish their halves, load all.

    Args:
        state: The state.
        signing_kek: Whether what wraps signing keys is a file in it.

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
        # A replacement that was cut short after the next key began to sign.
        with suppress(KeyFileError):
            finish(state, name)
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
    if signing_kek:
        _make_signing_kek(folder / SIGNING_KEK, public / "signing-kek.made")
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
    entry_file = SigningFile(folder / "entry.jwk", _ALGORITHMS["entry"])
    public = folder.parent / "public"
    return KeyRing(
        warrant_file=SigningFile(folder / "warrant.jwk", _ALGORITHMS["warrant"]),
        entry_file=entry_file,
        authority=keys["authority"],
        console=keys["console"],
        entries=PublishedHalves(public, "entry", present=entry_file),
        payload_kek=load_secret(folder / "payload.kek"),
        nonce_secret=load_secret(folder / "nonce.key"),
    )


def earlier_token_key(state: Path) -> PrivateKey | None:
    """Return the key that signed tokens while it was a file, if it still is one.

    Raises:
        KeyFileError: It is malformed or open to others.
    """
    path = state / "broker" / "token.jwk"
    return load_key(path) if path.exists() else None


def end_token_file(state: Path) -> None:
    """Remove the files of a token key that is kept in the ring now."""
    for folder in ("broker", "public"):
        (state / folder / "token.jwk").unlink(missing_ok=True)


def _make_signing_kek(path: Path, made: Path) -> None:
    """Make what wraps signing keys, once: a new one could open none of them."""
    if not path.exists():
        if made.exists():
            msg = f"{path} is gone; restore it, or reset this state"
            raise KeyFileError(msg)
        _make_secret(path)
    if not made.exists():
        write_secret(made, b"")


def own_keys(folder: Path) -> tuple[OwnKey, ...]:
    """Return what is to be known about the keys that are files, by name.

    Raises:
        KeyFileError: One is missing, malformed or open to others.
    """
    found = []
    for name, algorithm in sorted(_ALGORITHMS.items()):
        path = folder / f"{name}.jwk"
        made_at = datetime.fromtimestamp(path.stat().st_mtime, UTC)
        found.append(OwnKey(name, load_key(path).kid, algorithm.value, made_at))
    return tuple(found)


def _make_secret(path: Path) -> None:
    write_secret(path, urlsafe_b64encode(secrets.token_bytes(SECRET_BYTES)))


def load_secret(path: Path) -> bytes:
    """Return SECRET_BYTES bytes of a file that holds them in base64url.

    Raises:
        KeyFileError: As `read_secret`, or it holds something else.
    """
    text = read_secret(path).strip()
    try:
        data = urlsafe_b64decode(text + b"=" * (-len(text) % 4))
    except ValueError:
        data = b""
    if len(data) != SECRET_BYTES:
        msg = f"{path} holds no {SECRET_BYTES} bytes in base64url"
        raise KeyFileError(msg)
    return data
