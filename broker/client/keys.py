"""Key files of clients: who somebody is, and the key that shows it.

A key file is a private JWK with two more members: ``client_id`` (such as
``agent:<uuid>``) and ``name``. It belongs to its owner alone (mode 0600).
"""

from __future__ import annotations

import json
import os
import secrets
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from broker.core.canonical import CanonicalError, parse_json
from broker.core.jws import (
    Algorithm,
    JwsError,
    PrivateKey,
    private_from_jwk,
    private_from_seed,
    private_to_jwk,
)

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

KEY_FILE_BYTES_MAX: Final = 8_192

_SEED_BYTES = 48
_OTHERS = 0o077


class KeyFileError(ValueError):
    """A key file that is missing, malformed or open to others; names it, not it."""


@dataclass(frozen=True, slots=True)
class ClientKey:
    """Who a key file says its owner is, and the key."""

    client_id: str
    name: str
    key: PrivateKey

    @property
    def subject_id(self) -> str:
        """Return the id without its kind."""
        return self.client_id.partition(":")[2]


def read_key(path: Path) -> ClientKey:
    """Read a key file.

    Raises:
        KeyFileError: Missing, a link, open to others, too long, or no key file.
    """
    data = _private(path)
    try:
        document = parse_json(data, bytes_max=KEY_FILE_BYTES_MAX, depth_max=1)
        if not isinstance(document, dict):
            msg = f"{path} holds no key"
            raise KeyFileError(msg)
        client_id, name = document.pop("client_id"), document.pop("name")
        return ClientKey(str(client_id), str(name), private_from_jwk(document))
    except (CanonicalError, JwsError, KeyError):
        msg = f"{path} holds no private JWK with client_id and name"
        raise KeyFileError(msg) from None


def read_secret(path: Path) -> str:
    """Return the text in a file that only its owner can read.

    Raises:
        KeyFileError: Missing, a link, open to others, too long, or no ASCII text.
    """
    data = _private(path)
    try:
        text = data.decode("ascii").removesuffix("\n")
    except UnicodeDecodeError:
        text = ""
    if not text or not text.isprintable() or len(data) > KEY_FILE_BYTES_MAX:
        msg = f"{path} holds no single line of ASCII text"
        raise KeyFileError(msg)
    return text


def _private(path: Path) -> bytes:
    """Return what is in a private file, up to one byte more than it may hold."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        msg = f"{path}: {error.strerror}"
        raise KeyFileError(msg) from None
    try:
        mode = os.fstat(fd).st_mode
        if not stat.S_ISREG(mode) or stat.S_IMODE(mode) & _OTHERS:
            msg = f"{path} is open to others; it must be a file with mode 0600"
            raise KeyFileError(msg)
        return os.read(fd, KEY_FILE_BYTES_MAX + 1)
    finally:
        os.close(fd)


def write_key(path: Path, key: ClientKey) -> None:
    """Write a new key file that only its owner can read; never over another.

    Raises:
        KeyFileError: There is a file of that name, or it cannot be written.
    """
    document = private_to_jwk(key.key) | {
        "client_id": key.client_id,
        "name": key.name,
    }
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        fd = os.open(path, flags, 0o600)
        with os.fdopen(fd, "wb") as file:
            file.write(json.dumps(document).encode("ascii"))
    except OSError as error:
        msg = f"{path}: {error.strerror}"
        raise KeyFileError(msg) from None


def new_key(algorithm: Algorithm = Algorithm.ES256) -> PrivateKey:
    """Return a fresh key."""
    return private_from_seed(secrets.token_bytes(_SEED_BYTES), algorithm=algorithm)


def new_id(now: datetime) -> str:
    """Return a fresh UUIDv7. Source: RFC 9562 section 5.7."""
    value = int(now.timestamp() * 1000) << 80 | 0x7 << 76
    value |= secrets.randbits(12) << 64 | 0b10 << 62 | secrets.randbits(62)
    text = f"{value:032x}"
    return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))
