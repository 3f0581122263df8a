"""Look for what confines this process from outside, by trying what it should refuse.

Run before the posture ``external`` is believed, in a process without any layer of ours:
what is refused here, something else refuses. Started by the dispatcher as
``python -I -S -B -c BOOT CHECKOUT DISPATCHER``; prints each attempt's outcome as JSON.
"""

import errno
import json
import os
import stat
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

from tools.jail import kernel, syscalls

REFUSED: Final = "refused"
OPEN: Final = "open"


def see_others(dispatcher: int) -> None:
    """See a process that neither belongs to the dispatcher nor started it."""
    own = {os.getpid(), dispatcher, *_ancestors(dispatcher)}
    for name in os.listdir("/proc"):  # noqa: PTH208 few imports
        if not name.isdigit():
            continue
        pid = int(name)
        if pid not in own and dispatcher not in _ancestors(pid):
            return
    raise OSError(errno.EPERM, "none but ours")


def read_kernel(_dispatcher: int) -> None:
    """Open the kernel's memory or log, or a disk."""
    error = OSError(errno.ENOENT, "none")
    disks = [
        f"/dev/{name}"
        for name in os.listdir("/dev")  # noqa: PTH208 few imports
        if stat.S_ISBLK(os.lstat(f"/dev/{name}").st_mode)
    ]
    for path in ("/dev/mem", "/dev/kmsg", "/proc/kcore", *disks):
        try:
            os.close(os.open(path, os.O_RDONLY))
        except OSError as refused:
            error = refused
        else:
            return
    raise error


def use_rings(_dispatcher: int) -> None:
    """Use the kernel's submission rings."""
    os.close(_syscall("io_uring_setup", 1, bytes(120)))


def store_key(_dispatcher: int) -> None:
    """Store a key in the kernel."""
    _syscall("add_key", b"user", b"counterfoil-probe", b"x", 1, -1)


def load_program(_dispatcher: int) -> None:
    """Load a program or a map into the kernel."""
    attributes = b"\1\0\0\0\4\0\0\0\4\0\0\0\1\0\0\0"
    os.close(_syscall("bpf", 0, attributes.ljust(128, b"\0"), 128))


def count_events(_dispatcher: int) -> None:
    """Count events of the kernel."""
    attributes = b"\1\0\0\0\x80\0\0\0".ljust(128, b"\0")
    os.close(_syscall("perf_event_open", attributes, 0, -1, -1, 0))


def handle_faults(_dispatcher: int) -> None:
    """Handle the page faults of the kernel."""
    os.close(_syscall("userfaultfd", 0))


ATTEMPTS: Final[dict[str, Callable[[int], None]]] = {
    one.__name__: one
    for one in (
        *(see_others, read_kernel, use_rings, store_key),
        *(load_program, count_events, handle_faults),
    )
}


def attempt_all(dispatcher: int) -> dict[str, str]:
    """Make every attempt; return its name with what came of it."""
    found = {}
    for name, attempt in ATTEMPTS.items():
        try:
            attempt(dispatcher)
        except OSError as error:
            word = errno.errorcode.get(error.errno or 0, str(error.errno))
            found[name] = f"{REFUSED}: {word}"
        else:
            found[name] = OPEN
    return found


def _ancestors(pid: int) -> list[int]:
    """Return a process's parents, nearest first; none of one that has ended."""
    found: list[int] = []
    while pid > 0:
        try:
            text = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace")
        except OSError:
            break
        pid = int(text.rpartition(") ")[2].split()[1])
        found.append(pid)
    return found


def _syscall(name: str, *arguments: int | bytes) -> int:
    number = syscalls.number(name, on=syscalls.machine())
    if number is None:
        raise OSError(errno.ENOSYS, name)
    return kernel.syscall(number, *arguments)


def main() -> None:
    """Print the outcome of every attempt."""
    json.dump(attempt_all(int(sys.argv[2])), sys.stdout)
