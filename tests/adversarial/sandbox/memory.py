"""Look for a text in the memory of a process, and never take a failure for "no"."""

from __future__ import annotations

import base64
import os
import re
from dataclasses import dataclass
from pathlib import Path

_REGION = re.compile(r"^([0-9a-f]+)-([0-9a-f]+) (\S+) \S+ \S+ \S+ *(.*)$", re.MULTILINE)
# Pages of the kernel's own that nobody can read.
_KERNELS = ("[vvar]", "[vsyscall]", "[vvar_vclock]")


class UnreadableError(AssertionError):
    """The memory could not be read, so that nothing can be said about it."""


@dataclass(frozen=True)
class Look:
    """What was seen: the bytes that were read, and which texts stand in them."""

    bytes_read: int
    found: frozenset[str]


def forms(secret: str) -> list[bytes]:
    """Return a secret as it may stand somewhere: in the clear, or encoded."""
    raw = secret.encode()
    encoded = [base64.b64encode(b"." * pad + raw)[4:-4] for pad in range(3)]
    return [raw, raw.hex().encode(), raw.hex().upper().encode(), *encoded]


def holds(data: bytes, secret: str) -> bool:
    """Say whether a secret stands in data, in any form."""
    return any(form in data for form in forms(secret))


def look_into(pid: int, *, for_: dict[str, str]) -> Look:
    """Read all of a process's memory.

    Args:
        pid: The process; it may run on meanwhile.
        for_: What to look for, by a name.

    Raises:
        UnreadableError: A region could not be read, or none is there.
    """
    found: set[str] = set()
    count = 0
    try:
        maps = Path(f"/proc/{pid}/maps").read_text("utf-8", "replace")
        with Path(f"/proc/{pid}/mem").open("rb", buffering=0) as memory:
            for start, end, rights, name in _REGION.findall(maps):
                if "r" not in rights or name in _KERNELS:
                    continue
                region = _read(memory.fileno(), int(start, 16), int(end, 16))
                count += len(region)
                found |= {one for one, text in for_.items() if holds(region, text)}
    except OSError as error:
        msg = f"the memory of process {pid} was not read: {error}"
        raise UnreadableError(msg) from error
    if not count:
        msg = f"process {pid} has no memory: it has ended"
        raise UnreadableError(msg)
    return Look(count, frozenset(found))


def _read(fd: int, start: int, end: int) -> bytes:
    """Read a region; what lies behind a mapped file's end is not there to be read."""
    parts = []
    while start < end:
        part = os.pread(fd, end - start, start)
        if not part:
            break
        parts.append(part)
        start += len(part)
    return b"".join(parts)


def children_of(pid: int) -> list[int]:
    """Return a process's children."""
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text("ascii")
    return [int(one) for one in text.split()]
