"""Keep the log's keys and the last signed head where a crash cannot lose them.

``head.note`` is the last signed head: a signed note whose key id names the file with
the key, ``key-<id>.json``. Replacing that one file is the only step that changes what
the signer is, so every crash leaves either the state before it or the one after it.
"""

from __future__ import annotations

import fcntl
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from broker.core.canonical import CanonicalError, canonical, parse_json
from broker.core.jwk import (
    SEED_BYTES,
    Algorithm,
    JwsError,
    PrivateKey,
    private_from_jwk,
    private_from_seed,
    private_to_jwk,
)
from broker.core.transparency.checkpoint import (
    Checkpoint,
    CheckpointError,
    open_checkpoint,
    sign_checkpoint,
)
from broker.core.transparency.merkle import EMPTY_ROOT
from broker.core.transparency.signed_note import NOTE_BYTES_MAX, NoteError, NoteVerifier
from broker.core.transparency.signing import (
    ORIGINS_MAX,
    Former,
    SigningRefusedError,
    former_message,
    parse_former,
)

if TYPE_CHECKING:
    from pathlib import Path

    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

KEY_FILE_BYTES_MAX = 131_072
"""Longest key file; it also carries the former origins."""

_HEAD = "head.note"
_ORDER = "recover.json"
_KEY_FILE_MODE = 0o600


class DamagedError(Exception):
    """The signer's files do not agree with each other; it must not sign."""


@dataclass(frozen=True, slots=True)
class LogKey:
    """The log's private key under its origin, and the origins before it."""

    origin: str
    private: PrivateKey
    former: tuple[Former, ...] = ()

    @property
    def verifier(self) -> NoteVerifier:
        """The public half."""
        return NoteVerifier(self.origin, self._material.public_key())

    def sign(self, head: Checkpoint) -> str:
        """Return the head as a note signed by this key."""
        return sign_checkpoint(head, self._material)

    @property
    def _material(self) -> Ed25519PrivateKey:
        return cast("Ed25519PrivateKey", self.private.material)


@dataclass(frozen=True, slots=True)
class Order:
    """A person's order to open a new origin."""

    reason: str
    at: str


class Files:
    """The folder STATE/signer; open it once per process."""

    def __init__(self, folder: Path) -> None:
        """Take the folder's lock, so that no second signer signs beside this one.

        Raises:
            DamagedError: Another process has the lock.
        """
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder = folder
        self._lock = os.open(
            folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, _KEY_FILE_MODE
        )
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._lock)
            msg = f"another signer uses {folder}"
            raise DamagedError(msg) from None

    def close(self) -> None:
        """Give the lock back."""
        os.close(self._lock)

    def load(self, *, name: str) -> tuple[LogKey, Checkpoint, str]:
        """Return key, last signed head and its note; make them at the very first start.

        Args:
            name: What a new origin begins with.

        Raises:
            DamagedError: Key or head is missing or altered, so what was signed last is
                not known.
        """
        path = self._folder / _HEAD
        keys = sorted(self._folder.glob("key-*.json"))
        if not path.exists():
            if keys:
                msg = (
                    f"{path.name} is missing, so what was signed last is not known: "
                    "open a new origin with `counterfoil audit recover`"
                )
                raise DamagedError(msg)
            return self._first(name)
        note = _text(path)
        origin = note.partition("\n")[0]
        for each in keys:
            key = self._read_key(each)
            if key.origin == origin:
                try:
                    return key, open_checkpoint(note, key.verifier), note
                except CheckpointError as error:
                    msg = f"{path.name} is damaged: {error}"
                    raise DamagedError(msg) from None
        if not keys and note.split("\n")[1:2] == ["0"]:
            # If the first start died here, nothing was ever signed: start over.
            return self._first(name)
        msg = f"the key of {origin} is missing"
        raise DamagedError(msg)

    def keep_head(self, note: str) -> None:
        """Make a signed head the last one. It is on disk when this returns.

        Raises:
            OSError: It is not, and must not be given out.
        """
        self._replace(_HEAD, note.encode())

    def open_origin(
        self, *, name: str, former: tuple[Former, ...]
    ) -> tuple[LogKey, Checkpoint, str]:
        """Make a new key under a new origin, and begin its log at size 0.

        Raises:
            DamagedError: There were ORIGINS_MAX already.
        """
        if len(former) > ORIGINS_MAX:
            msg = f"this signer has had {ORIGINS_MAX} origins, and takes no more"
            raise DamagedError(msg)
        key = _new_key(name, former)
        head, note = _begin(key)
        # If we die between the two, the new key lies there unused.
        self._write_key(key)
        self.keep_head(note)
        return key, head, note

    def order(self) -> Order | None:
        """Return the order to open a new origin, if one waits.

        Raises:
            DamagedError: It cannot be read.
        """
        path = self._folder / _ORDER
        if not path.exists():
            return None
        value = _json(path)
        reason, at = value.get("reason"), value.get("at")
        if not isinstance(reason, str) or not isinstance(at, str) or not reason:
            msg = f"{path.name} holds no reason"
            raise DamagedError(msg)
        return Order(reason, at)

    def order_done(self) -> None:
        """Remove the order."""
        (self._folder / _ORDER).unlink(missing_ok=True)
        _sync(self._folder)

    def lost_key(self) -> LogKey:
        """Return the youngest key, when the head that would name it is gone.

        Raises:
            DamagedError: There is none that can be read.
        """
        keys = [self._read_key(each) for each in self._folder.glob("key-*.json")]
        if not keys:
            msg = "there is no key at all"
            raise DamagedError(msg)
        return max(keys, key=lambda key: len(key.former))

    def _first(self, name: str) -> tuple[LogKey, Checkpoint, str]:
        key = _new_key(name, ())
        head, note = _begin(key)
        # The head first: a head of size 0 without any key is a first start that died,
        # a key without a head is a head that was lost.
        self.keep_head(note)
        self._write_key(key)
        return key, head, note

    def _write_key(self, key: LogKey) -> None:
        value: dict[str, Any] = {
            "origin": key.origin,
            "jwk": private_to_jwk(key.private),
            "former": [former_message(each) for each in key.former],
        }
        self._replace(f"key-{key.verifier.key_id.hex()}.json", canonical(value))

    def _read_key(self, path: Path) -> LogKey:
        value = _json(path)
        origin, jwk, former = (value.get(n) for n in ("origin", "jwk", "former"))
        try:
            private = private_from_jwk(jwk if isinstance(jwk, dict) else {})
            listed = tuple(parse_former(each) for each in cast("list[Any]", former))
            if private.algorithm is not Algorithm.EDDSA:
                msg = f"{path.name} holds no Ed25519 key"
                raise DamagedError(msg)
            key = LogKey(str(origin), private, listed)
            if path.name != f"key-{key.verifier.key_id.hex()}.json":
                msg = f"{path.name} holds another key than its name says"
                raise DamagedError(msg)
        except (JwsError, SigningRefusedError, NoteError, TypeError) as error:
            msg = f"{path.name} is damaged: {error}"
            raise DamagedError(msg) from None
        return key

    def _replace(self, name: str, data: bytes) -> None:
        replace_durably(self._folder / name, data)


def write_order(folder: Path, order: Order) -> None:
    """Leave an order to open a new origin, for the signer to find."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    replace_durably(
        folder / _ORDER, canonical({"reason": order.reason, "at": order.at})
    )


def replace_durably(path: Path, data: bytes) -> None:
    """Replace a file whole or not at all; it is on disk when this returns."""
    new = path.with_name(f".{path.name}.new")
    fd = os.open(
        new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, _KEY_FILE_MODE
    )
    with os.fdopen(fd, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)
    _sync(path.parent)


def _new_key(name: str, former: tuple[Former, ...]) -> LogKey:
    private = private_from_seed(os.urandom(SEED_BYTES), algorithm=Algorithm.EDDSA)
    # Part of the key's own hash: two installations never share an origin.
    short = private.kid.replace("-", "").replace("_", "")[:8].lower()
    return LogKey(f"{name}/{short}", private, former)


def _begin(key: LogKey) -> tuple[Checkpoint, str]:
    head = Checkpoint(key.origin, 0, EMPTY_ROOT)
    return head, key.sign(head)


def _sync(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _text(path: Path) -> str:
    try:
        return path.read_bytes()[: NOTE_BYTES_MAX + 1].decode()
    except UnicodeDecodeError:
        msg = f"{path.name} is not text"
        raise DamagedError(msg) from None


def _json(path: Path) -> dict[str, Any]:
    try:
        value = parse_json(path.read_bytes(), bytes_max=KEY_FILE_BYTES_MAX, depth_max=4)
    except CanonicalError as error:
        msg = f"{path.name} is damaged: {error}"
        raise DamagedError(msg) from None
    if not isinstance(value, dict):
        msg = f"{path.name} is damaged"
        raise DamagedError(msg)
    return value
