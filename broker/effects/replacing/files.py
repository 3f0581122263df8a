"""Keys that are files, replaced while everything runs.

A key is replaced in three steps, each of which leaves every file whole: the next one
is published beside the present one, then signs, then takes its name. Whoever verifies
reads the folder again when it has changed: nothing has to be told or started anew.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from broker.core.words.errors import NotFoundError
from broker.core.words.warrant import WARRANT_TTL_S_MAX
from broker.effects.keyfiles import (
    KeyFileError,
    load_key,
    load_public_key,
    make_key,
    publish_key,
    save_key,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from broker.core.jwk import Algorithm, PrivateKey, PublicKey

REPLACEABLE: Final = ("entry", "warrant")
"""Keys that can be replaced while everything runs."""

KNOWN_S: Final = 3.0
"""How long a key is known before it signs: brokers write that down once a second."""

RETIRED_S: Final = WARRANT_TTL_S_MAX + 5.0
"""How long the half of an earlier warrant key stays: longer than a warrant lives."""

_SETTLED_NS: Final = 1_000_000_000


class SigningFile:
    """The private key that a file holds now; called for each signature."""

    def __init__(self, path: Path, algorithm: Algorithm) -> None:
        """Load it.

        Raises:
            KeyFileError: It is missing, malformed, of another sort or open to others.
        """
        self._path = path
        self._algorithm = algorithm
        self._stamp = _stamp(path)
        self._key = self._load()

    def __call__(self) -> PrivateKey:
        """Return the key, read again if the file was replaced.

        A file that cannot be read any more leaves the key as it was.
        """
        stamp = _stamp(self._path)
        if stamp is not None and stamp != self._stamp:
            with suppress(KeyFileError):
                self._key, self._stamp = self._load(), stamp
        return self._key

    def _load(self) -> PrivateKey:
        key = load_key(self._path)
        if key.algorithm is not self._algorithm:
            msg = f"{self._path} is no key for {self._algorithm.value}"
            raise KeyFileError(msg)
        return key


class PublishedHalves(Mapping[str, "PublicKey"]):
    """Public halves of a folder by kid: those whose file's name begins with a word."""

    def __init__(self, folder: Path, name: str, *, present: SigningFile) -> None:
        """Read them; the half of the key that signs here always counts.

        Raises:
            KeyFileError: One is malformed or open to others.
        """
        self._folder = folder
        self._name = name
        self._present = present
        self._stamp: object = None
        self._keys: dict[str, PublicKey] = {}
        self._read()

    def __getitem__(self, kid: str) -> PublicKey:
        """Return the half of this name."""
        return self._now()[kid]

    def __iter__(self) -> Iterator[str]:
        """Return the names."""
        return iter(self._now())

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._now())

    def _now(self) -> Mapping[str, PublicKey]:
        stamp = _stamp(self._folder)
        # What was written in the same instant as it was read may not be in it.
        fresh = stamp is not None and time.time_ns() - stamp[1] < _SETTLED_NS
        if fresh or stamp != self._stamp:
            with suppress(KeyFileError):
                self._read()
                self._stamp = stamp
        present = self._present().public()
        return {**self._keys, present.kid: present}

    def _read(self) -> None:
        found = (
            load_public_key(p) for p in sorted(self._folder.glob(f"{self._name}*.jwk"))
        )
        self._keys = {key.kid: key for key in found}


@dataclass(frozen=True, slots=True)
class Replacing:
    """Where the replacement of a key stands: what it was, what it will be."""

    name: str
    before: str
    after: str
    signs: bool


def make_known(state: Path, name: str) -> Replacing:
    """Publish the next key beside the present one; go on with one that is there.

    Raises:
        NotFoundError: No key of this name can be replaced like this.
        KeyFileError: A file is missing, malformed or open to others.
    """
    if name not in REPLACEABLE:
        msg = f"{name} is no key that is replaced like this"
        raise NotFoundError(msg, hint=f"it is one of: {', '.join(REPLACEABLE)}")
    present = load_key(state / "broker" / f"{name}.jwk")
    private, half = _next(state, name)
    if not half.exists():
        if not private.exists():
            save_key(private, make_key(present.algorithm))
        # If we die here, the next call publishes the half of the key that waits.
        publish_key(half, load_key(private).public())
    before = load_public_key(state / "public" / f"{name}.jwk").kid
    after = load_public_key(half).kid
    return Replacing(name, before, after, signs=present.kid == after)


def let_sign(state: Path, name: str) -> None:
    """Let the key that is known sign from now on; the one before is gone with that."""
    private, half = _next(state, name)
    if private.exists():
        key = load_key(private)
        if key.public() != load_public_key(half):
            msg = f"{half} is not the public half of {private}"
            raise KeyFileError(msg)
        save_key(state / "broker" / f"{name}.jwk", key)
        # If we die here, the same key is in both: the next call removes this one.
        private.unlink()


def finish(state: Path, name: str) -> None:
    """Give the half of the key that signs its name; the one before ends, or is kept.

    Entries of the earlier key stay in the log for good, so its half stays beside.
    """
    _, half = _next(state, name)
    place = half.with_name(f"{name}.jwk")
    if not half.exists():
        return
    if load_public_key(half) != load_key(state / "broker" / f"{name}.jwk").public():
        msg = f"{half} does not sign yet"
        raise KeyFileError(msg)
    if name == "entry" and place.exists():
        earlier = load_public_key(place)
        if earlier != load_public_key(half):
            publish_key(half.with_name(f"{name}-{earlier.kid}.jwk"), earlier)
    half.replace(place)


def _next(state: Path, name: str) -> tuple[Path, Path]:
    return state / "broker" / f"{name}-next.jwk", state / "public" / f"{name}-next.jwk"


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size
