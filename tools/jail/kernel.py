"""Call the few system calls that Python has no wrapper for."""

import ctypes
import os

_LIBC = ctypes.CDLL(None, use_errno=True)
_LIBC.syscall.restype = ctypes.c_long


def syscall(number: int, *arguments: int | bytes | None) -> int:
    """Make a system call and return what it returns.

    Every integer is passed with the width of a register: ctypes would pass 32 bits and
    leave the upper half to chance.

    Args:
        number: The system call's number on this machine.
        arguments: Integers, bytes whose address is passed, or None for a null pointer.

    Raises:
        OSError: The kernel refused; ``errno`` says why.
    """
    wide = [
        ctypes.c_long(one) if isinstance(one, int) else ctypes.c_char_p(one)
        for one in arguments
    ]
    result: int = _LIBC.syscall(ctypes.c_long(number), *wide)
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result
