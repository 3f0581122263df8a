"""State which system calls a zygote and a call's child may make.

Both lists are allow-lists. The child's is shorter: it can neither fork, nor send
descriptors, nor change what confines it. Neither list has a call that opens a socket,
starts a program, signals, traces, or writes to the file system.
"""

import errno
import signal
from typing import Final

from tools.jail.bpf import NoneOf, Null, OneOf, Rules, assemble

# Open flags that are the same on x86-64 and arm64: to write, create, append, truncate,
# make a nameless file, or get a descriptor that bypasses the check of access.
_OPEN_FORBIDDEN: Final = 0o3 | 0o100 | 0o1000 | 0o2000 | 0o20000000 | 0o10000000

# FIONREAD, FIOCLEX, FIONCLEX, FIONBIO, TCGETS (isatty). TIOCSTI must not be here.
_IOCTLS: Final = (0x541B, 0x5451, 0x5450, 0x5421, 0x5401)

# F_DUPFD, F_GETFD, F_SETFD, F_GETFL, F_SETFL, F_DUPFD_CLOEXEC. F_SETOWN would send
# signals to others, F_SETPIPE_SZ would enlarge what a call can make others hold.
_FCNTLS: Final = (0, 1, 2, 3, 4, 1030)

_SOL_SOCKET: Final = 1
# SO_TYPE, SO_ERROR, SO_ACCEPTCONN, SO_PROTOCOL, SO_DOMAIN. SO_PEERPIDFD would hand out
# a descriptor of the edge's process.
_SOCKET_OPTIONS: Final = (3, 4, 30, 38, 39)

_PR_SET_PDEATHSIG: Final = 1
_PR_SET_NAME: Final = 15

# How glibc forks: CLONE_CHILD_SETTID | CLONE_CHILD_CLEARTID | SIGCHLD; and plainly.
_FORK_FLAGS: Final = (0x01200000 | signal.SIGCHLD, int(signal.SIGCHLD))

_OPEN_READ_ONLY: Final[Rules] = {
    "open": (NoneOf(1, _OPEN_FORBIDDEN),),
    "openat": (NoneOf(2, _OPEN_FORBIDDEN),),
}

_CHILD: Final[Rules] = {
    # Its own descriptors and memory come first: they are called most.
    **dict.fromkeys(
        (
            *("read", "write", "mmap", "munmap", "brk", "mremap", "mprotect"),
            *("madvise", "close", "fstat", "newfstatat", "lseek", "pread64"),
            *("readv", "writev", "recvfrom", "recvmsg", "sendto", "shutdown"),
            *("getsockname", "getpeername", "dup", "poll", "ppoll", "select"),
            *("pselect6", "futex", "exit_group", "exit", "getrandom"),
            *("rt_sigaction", "rt_sigprocmask", "rt_sigreturn", "sigaltstack"),
            *("restart_syscall", "sched_yield", "sched_getaffinity"),
            *("clock_gettime", "clock_getres", "gettimeofday", "time", "times"),
            *("nanosleep", "clock_nanosleep", "getrusage", "getrlimit"),
            *("stat", "lstat", "statx", "access", "faccessat", "faccessat2"),
            *("readlink", "readlinkat", "getcwd", "getdents64"),
            *("getpid", "getppid", "gettid", "getuid", "geteuid", "getgid"),
            *("getegid", "uname", "sysinfo"),
        ),
        (),
    ),
    **_OPEN_READ_ONLY,
    "fcntl": (OneOf(1, *_FCNTLS),),
    "ioctl": (OneOf(1, *_IOCTLS),),
    "getsockopt": (OneOf(1, _SOL_SOCKET), OneOf(2, *_SOCKET_OPTIONS)),
    # Limits may be read, of itself or by number, but never set.
    "prlimit64": (Null(2),),
}

_ZYGOTE: Final[Rules] = {
    **_CHILD,
    **dict.fromkeys(
        (
            *("fork", "wait4", "waitid", "pidfd_open", "sendmsg"),
            *("dup2", "dup3", "close_range", "set_robust_list", "rseq"),
            *("seccomp", "landlock_restrict_self"),
        ),
        (),
    ),
    "clone": (OneOf(0, *_FORK_FLAGS),),
    # Of the zygote itself only: another process could be robbed of its limits.
    "prlimit64": (OneOf(0, 0),),
    "prctl": (OneOf(0, _PR_SET_PDEATHSIG, _PR_SET_NAME),),
}

# The C library falls back to an older call when a newer one does not exist; EPERM would
# be final. The conditions of clone and openat cannot be put on what stands in memory.
_ERRORS: Final = {"clone3": errno.ENOSYS, "openat2": errno.ENOSYS}


def zygote_program(*, machine: str) -> bytes:
    """Return the filter under which a zygote lives from its start."""
    return assemble(_ZYGOTE, machine=machine, errors=_ERRORS)


def child_program(*, machine: str) -> bytes:
    """Return the stricter filter under which connector code runs."""
    return assemble(_CHILD, machine=machine, errors=_ERRORS)
