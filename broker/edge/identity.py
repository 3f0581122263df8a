"""Keep what makes this edge this one: its id, its receipt key, its wrapping key.

The id stays for the life of the state folder; the boot id is new for every process, so
that a warrant made out to one is worthless to the next.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from broker.core.canonical import CanonicalError, canonical, parse_json
from broker.core.jwk import SEED_BYTES
from broker.core.jws import (
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
from broker.core.warrants.orders import is_id

if TYPE_CHECKING:
    from datetime import datetime
    from io import FileIO
    from pathlib import Path

KEK_BYTES: Final = 32
KEY_FILE_BYTES_MAX: Final = 8_192
_OWNER_ONLY = 0o600
_FOLDER = 0o700


class IdentityError(RuntimeError):
    """A key file that is missing, malformed, or open to others; it names the file."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Who this edge is, and the key it signs receipts with.

    ``new`` says that it was made just now: no warrant can name an earlier one of it.
    """

    edge: str
    boot: str
    key: PrivateKey
    new: bool = False


def uuid7(now: datetime) -> str:
    """Return a fresh id that begins with the time. Source: RFC 9562, section 5.7."""
    ms = int(now.timestamp() * 1000)
    tail = secrets.randbits(74)
    value = (
        ms << 80 | 0x7 << 76 | (tail >> 62) << 64 | 0b10 << 62 | tail & (1 << 62) - 1
    )
    text = f"{value:032x}"
    return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))


def lock(folder: Path) -> int:
    """Take the folder for this process, for as long as the descriptor is open.

    Raises:
        IdentityError: Another edge runs on it: two would write one journal.
    """
    fd = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, _OWNER_ONLY)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(fd)
        msg = f"another edge runs on {folder}"
        raise IdentityError(msg) from None
    return fd


def load_identity(folder: Path, *, now: datetime) -> Identity:
    """Return this edge with a new boot id; id and key are made at the first start.

    Raises:
        IdentityError: A file is malformed or open to others.
    """
    folder.mkdir(mode=_FOLDER, parents=True, exist_ok=True)
    path = folder / "edge.json"
    new = not path.exists()
    if new:
        write_secret(path, canonical({"edge": uuid7(now)}))
    said = read_json(path)
    if said.keys() != {"edge"} or not is_id(said["edge"]):
        msg = f"{path} names no edge"
        raise IdentityError(msg)
    key = _receipt_key(folder / "receipt.jwk")
    return Identity(said["edge"], uuid7(now), key, new=new)


def _receipt_key(path: Path) -> PrivateKey:
    if not path.exists():
        made = private_from_seed(
            secrets.token_bytes(SEED_BYTES), algorithm=Algorithm.EDDSA
        )
        write_secret(path, canonical(private_to_jwk(made)))
    try:
        return private_from_jwk(read_json(path))
    except JwsError as error:
        msg = f"{path}: {error.detail}"
        raise IdentityError(msg) from None


def publish(key: PublicKey, public: Path) -> Path:
    """Write the receipt key's public half where the broker pins it from.

    Every part may write only to a folder of its own among the public ones.
    """
    path = public / "edge" / "receipt.jwk"
    data = canonical(public_to_jwk(key))
    if not path.is_file() or path.read_bytes() != data:
        path.parent.mkdir(mode=_FOLDER, parents=True, exist_ok=True)
        write_secret(path, data)
    return path


def load_public(path: Path) -> PublicKey:
    """Return a pinned public key.

    Raises:
        IdentityError: The file holds no public key.
        FileNotFoundError: There is none yet.
    """
    try:
        return public_from_jwk(_json(path.read_bytes(), path))
    except JwsError as error:
        msg = f"{path}: {error.detail}"
        raise IdentityError(msg) from None


def load_kek(path: Path, *, make: bool) -> bytes:
    """Return the key that wraps the credentials' keys.

    Args:
        path: Its file: 64 hex digits.
        make: Make it if it is missing. What an older one sealed stays closed then.

    Raises:
        IdentityError: It is missing, malformed or open to others.
    """
    if make and not path.exists():
        write_secret(path, secrets.token_hex(KEK_BYTES).encode("ascii"))
    try:
        kek = bytes.fromhex(read_secret(path).decode("ascii").strip())
    except ValueError:
        kek = b""
    if len(kek) != KEK_BYTES:
        msg = f"{path} holds no key of {KEK_BYTES} bytes in hex"
        raise IdentityError(msg)
    return kek


def read_secret(path: Path, *, bytes_max: int = KEY_FILE_BYTES_MAX) -> bytes:
    """Return a file's bytes, if nobody but its owner can read or replace them.

    Raises:
        IdentityError: It is missing, no plain file, of somebody else, open to others,
            or longer than ``bytes_max``.
    """
    # Without O_NONBLOCK a pipe in the file's place would be waited for.
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        with open(os.open(path, flags), "rb", buffering=0) as file:  # noqa: PTH123
            data = _read_owned(file, path, bytes_max=bytes_max)
    except OSError as error:
        msg = f"{path}: {error.strerror}"
        raise IdentityError(msg) from None
    if len(data) > bytes_max:
        msg = f"{path} is longer than {bytes_max} bytes"
        raise IdentityError(msg)
    return data


def _read_owned(file: FileIO, path: Path, *, bytes_max: int) -> bytes:
    about = os.fstat(file.fileno())
    if not stat.S_ISREG(about.st_mode) or about.st_uid not in {os.geteuid(), 0}:
        msg = f"{path} is no file of this user"
        raise IdentityError(msg)
    if stat.S_IMODE(about.st_mode) & 0o077:
        msg = f"{path} can be read by others; its mode must be 0600"
        raise IdentityError(msg)
    return file.read(bytes_max + 1) or b""


def write_secret(path: Path, data: bytes) -> None:
    """Write a file that only its owner can read, whole or not at all, and durably."""
    beside = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    fd = os.open(
        beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _OWNER_ONLY
    )
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(fd)
        beside.replace(path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def read_json(path: Path) -> dict[str, Any]:
    """Return the JSON object in a secret file.

    Raises:
        IdentityError: As `read_secret`, or it holds no JSON object.
    """
    return _json(read_secret(path), path)


def _json(data: bytes, path: Path) -> dict[str, Any]:
    try:
        value = parse_json(data.strip(), bytes_max=KEY_FILE_BYTES_MAX, depth_max=4)
    except CanonicalError as error:
        msg = f"{path} holds no JSON ({error.problem})"
        raise IdentityError(msg) from None
    if not isinstance(value, dict):
        msg = f"{path} holds no JSON object"
        raise IdentityError(msg)
    return value
