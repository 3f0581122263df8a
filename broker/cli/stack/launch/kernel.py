"""Call the few system calls that Python has no wrapper for."""

import ctypes
import os
import signal
import struct

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
PR_SET_NO_NEW_PRIVS = 38

_CAPABILITY_VERSION_3 = 0x20080522

_libc = ctypes.CDLL(None, use_errno=True)


def check(result: int, what: str) -> int:
    """Return a system call's result, or raise what errno says.

    Raises:
        OSError: The call returned -1; ``what`` names it.
    """
    if result == -1:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result


def prctl(option: int, value: int, pointer: int = 0) -> None:
    """Set one attribute of the calling process or thread.

    Raises:
        OSError: The kernel refused.

    Source: prctl(2).
    """
    check(
        _libc.prctl(
            ctypes.c_int(option),
            ctypes.c_ulong(value),
            ctypes.c_ulong(pointer),
            ctypes.c_ulong(0),
            ctypes.c_ulong(0),
        ),
        f"prctl {option}",
    )


def drop_privileges() -> None:
    """Give up every capability, and never gain any by starting a program.

    As root this matters: CAP_SYS_ADMIN reads other processes' environments past
    Landlock, CAP_DAC_OVERRIDE past file modes.

    Raises:
        OSError: The kernel refused.

    Source: capset(2); PR_SET_NO_NEW_PRIVS in prctl(2).
    """
    prctl(PR_SET_NO_NEW_PRIVS, 1)
    header = struct.pack("=Ii", _CAPABILITY_VERSION_3, 0)
    # Effective, permitted and inheritable, of 32 capabilities each.
    nothing = struct.pack("=6I", 0, 0, 0, 0, 0, 0)
    check(_libc.capset(header, nothing), "capset")


def unshare(flags: int) -> None:
    """Move the calling process into new namespaces.

    Raises:
        OSError: The kernel, a seccomp filter or a limit refused.

    Source: unshare(2).
    """
    check(_libc.unshare(ctypes.c_int(flags)), "unshare")


def syscall(number: int, *arguments: object) -> int:
    """Make a raw system call; pointers go in as ctypes objects.

    Raises:
        OSError: The call failed.
    """
    return check(_libc.syscall(ctypes.c_long(number), *arguments), f"call {number}")


def die_with_parent(signum: int = signal.SIGKILL, *, parent: int) -> None:
    """Ask the kernel for a signal when the parent ends.

    Any change of user clears the request, so it is repeated after one. ``parent`` is
    compared afterwards: a parent that ended before the request sends no signal.

    Raises:
        ProcessLookupError: The parent is gone already.

    Source: PR_SET_PDEATHSIG in prctl(2).
    """
    prctl(PR_SET_PDEATHSIG, signum)
    if os.getppid() != parent:
        msg = f"process {parent}, which should supervise this one, has ended"
        raise ProcessLookupError(msg)
