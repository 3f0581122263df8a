"""Files that hold secrets: read only if nobody but the owner can, written durably."""

from __future__ import annotations

import os
import secrets
import stat
from typing import TYPE_CHECKING, Final

from broker.core.canonical import CanonicalError, canonical, parse_json
from broker.core.jwk import (
    SEED_BYTES,
    Algorithm,
    JwsError,
    PrivateKey,
    PublicKey,
    private_from_jwk,
    private_from_seed,
    private_to_jwk,
    public_from_jwk,
    public_to_jwk,
)

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

KEY_FILE_BYTES_MAX: Final = 8_192

_OWNER_ONLY = 0o600
_FOLDER = 0o700
_DEPTH = 2


class KeyFileError(RuntimeError):
    """A key file that is missing, malformed or open to others; names it, not it."""


def read_secret(path: Path) -> bytes:
    """Return the bytes of a file that only its owner can read.

    Raises:
        KeyFileError: Missing, a link, somebody else's, open to others, or longer than
            KEY_FILE_BYTES_MAX.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        msg = f"{path}: {error.strerror}"
        raise KeyFileError(msg) from None
    try:
        about = os.fstat(fd)
        if not stat.S_ISREG(about.st_mode) or about.st_uid not in {os.geteuid(), 0}:
            msg = f"{path} is no file of this user"
            raise KeyFileError(msg)
        if stat.S_IMODE(about.st_mode) & 0o077:
            msg = f"{path} is open to others; its mode must be 0600"
            raise KeyFileError(msg)
        data = os.read(fd, KEY_FILE_BYTES_MAX + 1)
    finally:
        os.close(fd)
    if len(data) > KEY_FILE_BYTES_MAX:
        msg = f"{path} is longer than {KEY_FILE_BYTES_MAX} bytes"
        raise KeyFileError(msg)
    return data


def write_secret(path: Path, data: bytes) -> None:
    """Write a file that only its owner can read, whole or not at all, and durably.

    Its folder is made if it is missing, and then belongs to the owner alone.
    """
    path.parent.mkdir(mode=_FOLDER, parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    fd = os.open(beside, flags, _OWNER_ONLY)
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(fd)
        beside.replace(path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def make_key(algorithm: Algorithm) -> PrivateKey:
    """Return a fresh key."""
    return private_from_seed(secrets.token_bytes(SEED_BYTES), algorithm=algorithm)


def save_key(path: Path, key: PrivateKey) -> None:
    """Write a private key as a JWK."""
    write_secret(path, canonical(private_to_jwk(key)))


def load_key(path: Path) -> PrivateKey:
    """Read a private key.

    Raises:
        KeyFileError: As `read_secret`, or it holds no private key.
    """
    try:
        return private_from_jwk(_json(path))
    except JwsError as error:
        msg = f"{path}: {error.detail}"
        raise KeyFileError(msg) from None


def publish_key(path: Path, key: PublicKey) -> None:
    """Write a public key as a JWK, where the parts that pin it read it."""
    write_secret(path, canonical(public_to_jwk(key)))


def load_public_key(path: Path) -> PublicKey:
    """Read a public key.

    Raises:
        KeyFileError: As `read_secret`, or it holds no public key.
    """
    try:
        return public_from_jwk(_json(path))
    except JwsError as error:
        msg = f"{path}: {error.detail}"
        raise KeyFileError(msg) from None


class PublicKeyFile:
    """The public key in a file that another process writes, such as the edge's.

    It is read when it is needed, because that process may not have made it yet, and
    again when the file is another one.
    """

    def __init__(self, path: Path) -> None:
        """Keep where it is; nothing is read yet."""
        self.path = path
        self._read: tuple[tuple[int, int, int], Mapping[str, PublicKey]] | None = None

    def keys(self) -> Mapping[str, PublicKey]:
        """Return the key under its id.

        Raises:
            KeyFileError: As `load_public_key`.
        """
        try:
            about = self.path.stat()
        except OSError as error:
            msg = f"{self.path}: {error.strerror}"
            raise KeyFileError(msg) from None
        mark = (about.st_ino, about.st_mtime_ns, about.st_size)
        if self._read is None or self._read[0] != mark:
            key = load_public_key(self.path)
            self._read = (mark, {key.kid: key})
        return self._read[1]


def _json(path: Path) -> dict[str, object]:
    data = read_secret(path).strip()
    try:
        value = parse_json(data, bytes_max=KEY_FILE_BYTES_MAX, depth_max=_DEPTH)
    except CanonicalError as error:
        msg = f"{path} holds no JSON ({error.problem})"
        raise KeyFileError(msg) from None
    if not isinstance(value, dict):
        msg = f"{path} holds no JSON object"
        raise KeyFileError(msg)
    return dict(value)
