"""Confine file access, ports and signals with Landlock.

Source: Documentation/userspace-api/landlock.rst of Linux 6.12.
"""

import os
import stat
import struct
from collections.abc import Iterable
from typing import Final

from tools.jail import kernel, syscalls

ABI_MIN: Final = 1
"""Oldest interface that is enough (Linux 5.13).

Version 1 confines opening files and tracing. What later versions add (truncating by
path, TCP, device ioctls, abstract sockets, signals) the seccomp filters refuse as well,
so it is used where it exists, and not needed.
"""

_VERSION_FLAG: Final = 1
_RULE_PATH_BENEATH: Final = 1
_READ_FILE: Final = 1 << 2
_READ_DIR: Final = 1 << 3

# How many file rights each version of the interface knows.
_RIGHTS: Final = {1: 13, 2: 14, 3: 15, 4: 15, 5: 16}
_ABI_PORTS: Final = 4
_ALL_PORTS: Final = 0b11  # bind and connect
_ABI_SCOPES: Final = 6
_ALL_SCOPES: Final = 0b11  # abstract sockets and signals

_RULESET: Final = struct.Struct("=QQQ")  # file rights, port rights, scopes
_PATH_BENEATH: Final = struct.Struct("=Qi")  # rights, descriptor


def abi() -> int:
    """Return the version of the kernel's interface; 0 when there is none."""
    try:
        return kernel.syscall(
            _number("landlock_create_ruleset"), None, 0, _VERSION_FLAG
        )
    except OSError:
        return 0


def ruleset(readable: Iterable[str]) -> int:
    """Return the descriptor of a rule that allows reading below paths, nothing else.

    Paths that do not exist are left out. Every right that this kernel can withhold is
    withheld: writing, executing, making and removing, ports, and reaching processes
    outside by signal or abstract socket.

    Raises:
        OSError: The kernel has no Landlock, or refused.
    """
    version = abi()
    rights = (1 << _RIGHTS[min(version, max(_RIGHTS))]) - 1 if version else 0
    attributes = _RULESET.pack(
        rights,
        _ALL_PORTS if version >= _ABI_PORTS else 0,
        _ALL_SCOPES if version >= _ABI_SCOPES else 0,
    )
    # An older kernel takes a longer structure as long as what it does not know is zero.
    made = kernel.syscall(
        _number("landlock_create_ruleset"), attributes, len(attributes), 0
    )
    try:
        for path in readable:
            _allow_reading(made, path)
    except OSError:
        os.close(made)
        raise
    return made


def restrict(ruleset_fd: int) -> None:
    """Put the calling process, and all it starts, under a rule for good.

    Raises:
        OSError: The kernel refused; it demands no_new_privs first.
    """
    kernel.syscall(_number("landlock_restrict_self"), ruleset_fd, 0)


def _allow_reading(ruleset_fd: int, path: str) -> None:
    try:
        fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return
    try:
        folder = stat.S_ISDIR(os.fstat(fd).st_mode)
        rights = _READ_FILE | (_READ_DIR if folder else 0)
        kernel.syscall(
            _number("landlock_add_rule"),
            ruleset_fd,
            _RULE_PATH_BENEATH,
            _PATH_BENEATH.pack(rights, fd),
            0,
        )
    finally:
        os.close(fd)


def _number(name: str) -> int:
    found = syscalls.number(name, on=syscalls.machine())
    assert found is not None  # noqa: S101 both machines have these
    return found
