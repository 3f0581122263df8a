"""Tell what a call finds inside the jail."""

from __future__ import annotations

import ctypes
import os
import resource
import sys
from typing import Any

from tests.adversarial.sandbox.hostile.kit import LIBC
from tools.sdk import Call


def find_environment(_: Call) -> dict[str, Any]:
    """Return the names in the environment, as Python and the C library see it."""
    LIBC.getenv.restype = ctypes.c_char_p
    known = ("PATH", "HOME", "PYTHONPATH", "COUNTERFOIL_CANARY")
    in_c = [name for name in known if LIBC.getenv(name.encode())]
    return {"names": [*os.environ, *in_c], "arguments": sys.argv[1:]}


def find_descriptors(_: Call) -> dict[str, Any]:
    """Return every open descriptor."""
    found = []
    for fd in range(4096):
        try:
            os.fstat(fd)
        except OSError:
            continue
        found.append(fd)
    return {"open": found}


def find_limits(_: Call) -> dict[str, Any]:
    """Return the limits that the kernel holds this process to."""
    names = ("AS", "CPU", "FSIZE", "CORE", "NOFILE", "NPROC")
    return {
        name: list(resource.getrlimit(getattr(resource, f"RLIMIT_{name}")))
        for name in names
    }
