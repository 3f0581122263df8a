"""Take from a process what is not files or system calls: rights, limits, neighbours."""

import contextlib
import os
import resource
import signal
import struct
from typing import Final

from tools.jail import kernel, syscalls

MEMORY_BYTES_MAX: Final = 256 * 1024 * 1024
"""Address space of a call's child; an empty interpreter takes about 30 MiB of it."""

CPU_S_MAX: Final = 31
"""Processor time of a call's child: the longest timeout of a tool, and a second."""

DESCRIPTORS_MAX: Final = 64
"""Open files of a call's child: its five, and those of an import."""

ZYGOTE_DESCRIPTORS_MAX: Final = 1024
"""Open files of a zygote: a few per call in flight."""

_NAMESPACES: Final = {
    "user": 0x10000000,
    "network": 0x40000000,
    "process": 0x20000000,
    "ipc": 0x08000000,
    "host name": 0x04000000,
    "cgroup": 0x02000000,
}
_PR_SET_PDEATHSIG: Final = 1
_PR_SET_DUMPABLE: Final = 4
_PR_SET_NO_NEW_PRIVS: Final = 38

_CAPABILITY_VERSION_3: Final = 0x20080522
_CAPABILITY_HEADER: Final = struct.Struct("=Ii")
_NO_CAPABILITIES: Final = bytes(24)  # effective, permitted, inheritable, twice 32 bits


def enter_namespaces() -> None:
    """Leave the host's users, network, processes and names; the next fork is inside.

    No user is mapped: inside, the process is nobody at all, and cannot become anybody.
    File access is still decided by who it is outside.

    Raises:
        OSError: User namespaces do not work here.
    """
    flags = 0
    for flag in _NAMESPACES.values():
        flags |= flag
    _call("unshare", flags)


def die_with_parent(parent: int) -> None:
    """Ask to be killed when the parent ends.

    Args:
        parent: The parent's process id as seen from here; 0 if it is outside.

    Raises:
        ProcessLookupError: The parent has ended already.
    """
    _call("prctl", _PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        msg = "the parent has ended"
        raise ProcessLookupError(msg)


def give_up_privileges() -> None:
    """Drop every capability, and the way to get any back by starting a program."""
    _call("prctl", _PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    header = _CAPABILITY_HEADER.pack(_CAPABILITY_VERSION_3, 0)
    _call("capset", header, _NO_CAPABILITIES)
    hide_memory()


def hide_memory() -> None:
    """Keep whoever runs as the same user from tracing it and reading its memory."""
    _call("prctl", _PR_SET_DUMPABLE, 0, 0, 0, 0)


def limit_zygote() -> None:
    """Set the limits that a zygote and its children share."""
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_FSIZE, 0)
    _limit(resource.RLIMIT_MEMLOCK, 0)
    _limit(resource.RLIMIT_MSGQUEUE, 0)
    _limit(resource.RLIMIT_NOFILE, ZYGOTE_DESCRIPTORS_MAX)


def limit_child() -> None:
    """Set the limits of one call's child."""
    _limit(resource.RLIMIT_AS, MEMORY_BYTES_MAX)
    _limit(resource.RLIMIT_CPU, CPU_S_MAX)
    _limit(resource.RLIMIT_NOFILE, DESCRIPTORS_MAX)
    # Refuses forks where the user is not the host's root; for root the filter does.
    _limit(resource.RLIMIT_NPROC, 0)


def _limit(which: int, most: int) -> None:
    # The hard limit may be lower already: it can only be lowered further.
    with contextlib.suppress(ValueError):
        resource.setrlimit(which, (most, most))
        return
    hard = resource.getrlimit(which)[1]
    resource.setrlimit(which, (min(most, hard), hard))


def _call(name: str, *arguments: int | bytes) -> None:
    number = syscalls.number(name, on=syscalls.machine())
    assert number is not None  # noqa: S101 both machines have these
    kernel.syscall(number, *arguments)
