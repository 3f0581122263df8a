"""The broker's warrant keys, as they are pinned now: the present one and the next one.

The files are read again when they change, so that the broker's key can be replaced
while the edge runs. There are these two names and no other: whoever may write a third
file beside them pins nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from broker.edge.identity import IdentityError, load_public

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from broker.core.jwk import PublicKey

NAMES: Final = ("warrant.jwk", "warrant-next.jwk")


class WarrantKeys(Mapping[str, "PublicKey"]):
    """Pinned warrant keys by kid."""

    def __init__(self, folder: Path) -> None:
        """Read them.

        Raises:
            IdentityError: A file holds no public key.
            FileNotFoundError: The present one is not there.
        """
        self._paths = [folder / name for name in NAMES]
        self._stamps = self._look()
        self._keys = self._load()

    def __getitem__(self, kid: str) -> PublicKey:
        """Return the key of this name."""
        return self._now()[kid]

    def __iter__(self) -> Iterator[str]:
        """Return the names."""
        return iter(self._now())

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._now())

    def _now(self) -> Mapping[str, PublicKey]:
        stamps = self._look()
        if stamps != self._stamps:
            # A present key that is gone or spoilt leaves the pins as they were.
            with suppress(IdentityError, FileNotFoundError):
                self._keys, self._stamps = self._load(), stamps
        return self._keys

    def _load(self) -> dict[str, PublicKey]:
        present = load_public(self._paths[0])
        keys = {present.kid: present}
        with suppress(FileNotFoundError):
            following = load_public(self._paths[1])
            keys[following.kid] = following
        return keys

    def _look(self) -> list[tuple[int, int, int] | None]:
        return [_stamp(path) for path in self._paths]


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size
