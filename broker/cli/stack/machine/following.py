"""Follow logs as they are written: one, or all of a stack."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

FOLLOW_POLL_S: Final = 0.2


class Tail:
    """What is appended to one log after a position, line by line."""

    def __init__(self, path: Path, *, position: int) -> None:
        """Begin at a position."""
        self._path, self._position, self._rest = path, position, ""

    def lines(self) -> Iterator[str]:
        """Give the whole lines that came since the last time.

        A log that is shorter than before is a new one, and begins anew.

        Raises:
            FileNotFoundError: it is gone.
        """
        if self._path.stat().st_size < self._position:
            self._position, self._rest = 0, ""
        with self._path.open("rb") as file:
            file.seek(self._position)
            new = file.read()
        self._position += len(new)
        *whole, self._rest = (self._rest + new.decode("utf-8", "replace")).split("\n")
        yield from whole


def follow_logs(
    folder: Path,
    tails: dict[str, Tail],
    write: Callable[[str, str], None],
    *,
    all_: bool,
) -> None:
    """Write what is appended until interrupted, or until the logs are gone.

    Args:
        folder: Where the logs are.
        tails: What is followed, by the name of its part.
        write: Gets the name of a part, and a line.
        all_: Whether parts that begin later are followed as well.
    """
    try:
        while folder.is_dir():
            if all_:
                for path in sorted(folder.glob("*.log")):
                    tails.setdefault(path.stem, Tail(path, position=0))
            for name, one in [*tails.items()]:
                try:
                    for line in one.lines():
                        write(name, line)
                except FileNotFoundError:
                    del tails[name]
            if not tails and not all_:
                return
            time.sleep(FOLLOW_POLL_S)
    except KeyboardInterrupt:
        return
