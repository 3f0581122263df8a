"""The key of what goes to Temporal: a copy for the broker and one for the worker.

Each process can read its own folder only; whoever sets a state up writes both.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
from base64 import urlsafe_b64encode
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from broker.core.approvals.codec import (
    CODEC_KEY_BYTES,
    CodecError,
    CodecKeys,
    codec_key,
    parse_codec_keys,
    with_known,
    with_newest,
)
from broker.core.authorize import EXPIRES_S_MAX
from broker.effects.keyfiles import KeyFileError, read_secret, write_secret

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

CODEC_FILE: Final = "codec.key"
_SLACK_S: Final = 86_400


def generate_codec_keys(state: Path) -> CodecKeys:
    """Make the key that a state does not have yet, for broker and worker; load it.

    Raises:
        KeyFileError: the two copies differ, or one cannot be read.
    """
    ours, theirs = state / "broker" / CODEC_FILE, state / "worker" / CODEC_FILE
    if not ours.exists() and not theirs.exists():
        fresh = urlsafe_b64encode(secrets.token_bytes(CODEC_KEY_BYTES)).rstrip(b"=")
        write_secret(ours, json.dumps({"keys": [fresh.decode("ascii")]}).encode())
    # If we die between the two, the next start finds one and copies it.
    for copy, source in ((theirs, ours), (ours, theirs)):
        if not copy.exists():
            write_secret(copy, read_secret(source))
    if read_secret(ours) != read_secret(theirs):
        msg = f"{ours} and {theirs} must be the same"
        raise KeyFileError(msg)
    return load_codec_keys(ours)


class CodecFile:
    """The keys of a file as it stands now: whoever rotates them tells nobody."""

    def __init__(self, path: Path) -> None:
        """Load them.

        Raises:
            KeyFileError: the file is missing, malformed or open to others.
        """
        self._path = path
        self._stamp = _stamp(path)
        self._keys = load_codec_keys(path)

    def __call__(self) -> CodecKeys:
        """Return the keys, read again if the file was replaced; never fewer by error.

        A file that cannot be read any more leaves the keys as they were.
        """
        stamp = _stamp(self._path)
        if stamp is not None and stamp != self._stamp:
            with suppress(KeyFileError):
                self._keys, self._stamp = load_codec_keys(self._path), stamp
        return self._keys


def rotate_codec_keys(
    state: Path,
    *,
    now: datetime,
    announce: Callable[[str], None],
    only_known: bool = False,
) -> CodecKeys:
    """Make a new key that every process knows before the first one seals with it.

    What was sealed before opens as long as its key is in the ring. A key is dropped
    once it was replaced longer ago than any approval can be open, and only then.

    Args:
        state: The state of broker and worker.
        now: The time.
        announce: Has it recorded that the key of this name seals from now on, once
            everybody knows it and before it does; what it raises ends the rotation,
            and the next call goes on with the same key.
        only_known: Stop before it is used, so that the files can be copied to every
            host first; the next call goes on with it.

    Raises:
        KeyFileError: The files cannot be read, somebody else rotates them, or the ring
            is full of keys that open approvals may need.
    """
    with _alone(state):
        return _rotated(state, now=now, announce=announce, only_known=only_known)


@contextmanager
def _alone(state: Path) -> Iterator[None]:
    """Hold the broker's folder: of two rotations at once one would drop a key in use.

    Raises:
        KeyFileError: Somebody else rotates, or the folder cannot be opened.
    """
    folder = state / "broker"
    try:
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        msg = f"{folder}: {error.strerror}"
        raise KeyFileError(msg) from None
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            msg = f"somebody else rotates the key in {folder} at the moment"
            raise KeyFileError(msg) from None
        yield
    finally:
        os.close(fd)


def _rotated(
    state: Path, *, now: datetime, announce: Callable[[str], None], only_known: bool
) -> CodecKeys:
    ours, theirs = state / "broker" / CODEC_FILE, state / "worker" / CODEC_FILE
    keys, replaced = load_codec_keys(ours), _replaced(ours)
    other = load_codec_keys(theirs)
    if {*keys.keys} != {*other.keys}:
        # A rotation that was cut short wrote one of them: each key in either counts.
        more = [one for one in other.keys if one not in keys.keys]
        keys = CodecKeys((*keys.keys, *more))
    live = {one: at for one, at in replaced.items() if _needed(at, now)}
    kept = tuple(one for one in keys.keys if one.kid in live or one.kid not in replaced)
    waiting = next((one for one in kept[1:] if one.kid not in replaced), None)
    fresh = waiting or codec_key(secrets.token_bytes(CODEC_KEY_BYTES))
    try:
        known = with_known(CodecKeys(kept), fresh)
    except CodecError:
        days = EXPIRES_S_MAX // 86_400
        msg = f"the ring is full of keys that were replaced less than {days} days ago"
        raise KeyFileError(msg) from None
    # The worker's first: it is who opens what the broker seals. If we die between any
    # two of these, the next call goes on with the key that waits.
    for path in (theirs, ours):
        _write(path, known, live)
    if only_known:
        return known
    announce(fresh.kid)
    newest = with_newest(known, fresh)
    live |= {known.keys[0].kid: now.isoformat()}
    for path in (theirs, ours):
        _write(path, newest, live)
    return newest


def _needed(replaced_at: str, now: datetime) -> bool:
    age = now - datetime.fromisoformat(replaced_at)
    return age < timedelta(seconds=EXPIRES_S_MAX + _SLACK_S)


def _replaced(path: Path) -> dict[str, str]:
    """Return when keys were replaced, by name, as the file says beside them."""
    said = json.loads(read_secret(path)).get("replaced", {})
    return dict(said) if isinstance(said, dict) else {}


def _write(path: Path, keys: CodecKeys, replaced: Mapping[str, str]) -> None:
    texts = [urlsafe_b64encode(one.secret).rstrip(b"=").decode() for one in keys.keys]
    document = {"keys": texts, "replaced": dict(replaced)}
    write_secret(path, json.dumps(document).encode())


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


def load_codec_keys(path: Path) -> CodecKeys:
    """Load the keys.

    Raises:
        KeyFileError: the file is missing, malformed or open to others.
    """
    try:
        return parse_codec_keys(read_secret(path))
    except CodecError as error:
        msg = f"{path}: {error}"
        raise KeyFileError(msg) from None
