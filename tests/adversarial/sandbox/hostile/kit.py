"""What the attempts share: raw system calls, and how an attempt is told."""

from __future__ import annotations

import ctypes
import errno
import functools
import os
import platform
from collections.abc import Callable
from typing import Any

from tools.sdk import Call

CHANNEL = 3
EGRESS = 4
KEPT: list[str] = []
ARM = platform.machine() == "aarch64"
LIBC = ctypes.CDLL(None, use_errno=True)
LIBC.syscall.restype = ctypes.c_long
NUMBERS = {
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "setns": (308, 268),
    "unshare": (272, 97),
    "mount": (165, 40),
    "io_uring_setup": (425, 425),
    "add_key": (248, 217),
    "keyctl": (250, 219),
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "memfd_create": (319, 279),
    "pidfd_getfd": (438, 438),
    "pidfd_open": (434, 434),
    "pidfd_send_signal": (424, 424),
    "prctl": (157, 167),
}
World = dict[str, Any]


def attempt(function: Callable[[World], Any]) -> Callable[[Call], dict[str, Any]]:
    """Make a tool of an attempt: tell what it got, or the error that refused it."""

    @functools.wraps(function)
    def tool(call: Call) -> dict[str, Any]:
        try:
            return {"got": function(dict(call.arguments))}
        except OSError as error:
            return {"refused": errno.errorcode.get(error.errno or 0, str(error))}
        except (MemoryError, RuntimeError, ValueError) as error:
            return {"refused": type(error).__name__}

    return tool


def syscall(name: str, *arguments: Any) -> int:
    """Make a system call by number; raise the error that it gives."""
    wide = [ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]
    result: int = LIBC.syscall(ctypes.c_long(NUMBERS[name][ARM]), *wide)
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result
