"""Confine the calling process to named paths with Landlock, without capabilities.

A process under the rule reaches no other path, may not trace or signal a process
outside its own domain, and may not connect to an abstract socket outside it. Sockets
with a path and TCP stay open to it: those ask for a password or a key.

Source: Documentation/userspace-api/landlock.rst of Linux 6.12.
"""

import ctypes
import os
import stat
import struct
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from broker.cli.stack.launch import kernel

# The same numbers on x86-64 and arm64: both took them from the generic table.
_CREATE_RULESET = 444
_ADD_RULE = 445
_RESTRICT_SELF = 446
_VERSION_FLAG = 1
_RULE_PATH_BENEATH = 1

EXECUTE = 1 << 0
WRITE_FILE = 1 << 1
READ_FILE = 1 << 2
READ_DIR = 1 << 3
REFER = 1 << 13
TRUNCATE = 1 << 14
IOCTL_DEV = 1 << 15

_READ = EXECUTE | READ_FILE | READ_DIR
_OF_FILES = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEV
# How many rights the kernel knows, by the version of its interface.
_RIGHTS_BY_ABI = {1: 13, 2: 14, 3: 15, 4: 15, 5: 16}
_ABI_SCOPES = 6
_SCOPE_ABSTRACT_SOCKET = 1 << 0
_SCOPE_SIGNAL = 1 << 1


_RULESET = struct.Struct("=QQQ")  # rights on files, rights on ports, scopes
_PATH_BENEATH = struct.Struct("=Qi")  # rights, descriptor


def abi() -> int:
    """Return the version of Landlock's interface; 0 when there is none."""
    try:
        return kernel.syscall(
            _CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint32(_VERSION_FLAG)
        )
    except OSError:
        return 0


def handled(version: int) -> int:
    """Return every file right that this version can withhold, as a bit set."""
    return (1 << _RIGHTS_BY_ABI[min(version, max(_RIGHTS_BY_ABI))]) - 1


def around(path: Path, hidden: Iterable[Path]) -> Iterator[Path]:
    """Yield paths that together are ``path`` without what is hidden below it.

    Landlock only grants, so a folder with something hidden in it is granted child by
    child. A child that appears later is not granted.
    """
    below = [one for one in hidden if one == path or path in one.parents]
    if not below:
        yield path
    elif path not in below:
        for child in sorted(path.iterdir()):
            if not child.is_symlink():
                yield from around(child, below)


def restrict(
    *, read: Iterable[str], write: Iterable[str], hidden: Iterable[str] = ()
) -> int:
    """Confine this process, and all it starts, for good; give up all capabilities.

    Args:
        read: Paths to read and execute; those that do not exist are left out.
        write: Paths to do everything with.
        hidden: Paths left out of the others where they stand inside one.

    Returns:
        The version of the kernel's interface that was applied.

    Raises:
        OSError: The kernel has no Landlock, or refused the rule.
    """
    version = abi()
    if not version:
        msg = "this kernel offers no Landlock"
        raise OSError(msg)
    everything = handled(version)
    scopes = _SCOPE_ABSTRACT_SOCKET | _SCOPE_SIGNAL if version >= _ABI_SCOPES else 0
    fd = kernel.syscall(
        _CREATE_RULESET,
        _RULESET.pack(everything, 0, scopes),
        ctypes.c_size_t(_RULESET.size),
        ctypes.c_uint32(0),
    )
    try:
        rights: Mapping[int, Iterable[str]] = {_READ: read, everything: write}
        concealed = [Path(one).resolve() for one in hidden]
        for allowed, paths in rights.items():
            for named in paths:
                # Symbolic links on the way need no right of their own.
                path = Path(named).resolve()
                if path.exists():
                    for one in around(path, concealed):
                        _allow(fd, one, allowed)
        # The kernel asks for no_new_privs, which this sets, of whoever confines itself.
        kernel.drop_privileges()
        kernel.syscall(_RESTRICT_SELF, ctypes.c_int(fd), ctypes.c_uint32(0))
    finally:
        os.close(fd)
    return version


def _allow(ruleset: int, path: Path, rights: int) -> None:
    fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        if not stat.S_ISDIR(os.fstat(fd).st_mode):
            rights &= _OF_FILES
        kernel.syscall(
            _ADD_RULE,
            ctypes.c_int(ruleset),
            ctypes.c_int(_RULE_PATH_BENEATH),
            _PATH_BENEATH.pack(rights, fd),
            ctypes.c_uint32(0),
        )
    finally:
        os.close(fd)
