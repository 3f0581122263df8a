"""Play a container's filter, and a pod: what lies around a runner."""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Mapping
from pathlib import Path

from tools.jail import bpf, kernel, syscalls

NEW_MOUNTS, NEW_USER, NEW_PROCESSES = 0x00020000, 0x10000000, 0x20000000
NEW_NAMESPACES = 0x7E020000
BIND = 0x1000
PRIVATE_AND_BELOW = 0x40000 | 0x4000


def enter_a_pod() -> None:
    """Go on as the first process that there is, with the devices of a container."""
    user, group = os.getuid(), os.getgid()
    _call("unshare", NEW_MOUNTS | NEW_PROCESSES | (NEW_USER if user else 0))
    if user:
        Path("/proc/self/setgroups").write_text("deny", "ascii")
        Path("/proc/self/uid_map").write_text(f"{user} {user} 1", "ascii")
        Path("/proc/self/gid_map").write_text(f"{group} {group} 1", "ascii")
    pid = os.fork()
    if pid:
        os._exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    _call("mount", None, b"/", None, PRIVATE_AND_BELOW, None)
    _call("mount", b"proc", b"/proc", b"proc", 0, None)
    devices = {
        name: os.open(f"/dev/{name}", os.O_PATH)
        for name in ("null", "zero", "random", "urandom")
    }
    _call("mount", b"tmpfs", b"/dev", b"tmpfs", 0, None)
    for name, fd in devices.items():
        Path("/dev", name).touch()
        _call("mount", _path(fd), f"/dev/{name}".encode(), None, BIND, None)
        os.close(fd)
    if Path("/proc/kcore").exists():
        _call("mount", b"/dev/null", b"/proc/kcore", None, BIND, None)
    Path("/dev/shm").mkdir()  # noqa: S108  (in a file system of its own)


def _path(fd: int) -> bytes:
    return f"/proc/self/fd/{fd}".encode()


def forget_landlock() -> None:
    """Answer as a kernel that never heard of Landlock, here and in all below."""
    _refuse({"landlock_create_ruleset": errno.ENOSYS})


def confine_like_a_container() -> None:
    """Refuse what a container's usual filter refuses, for this process and all below.

    Source: moby/profiles, seccomp/default.json, for a container without capabilities.
    """
    forbidden = (
        *("unshare", "mount", "setns", "chroot", "bpf", "keyctl", "add_key", "ptrace"),
        *("io_uring_setup", "pidfd_getfd", "perf_event_open", "userfaultfd"),
    )
    _refuse(
        {**dict.fromkeys(forbidden, errno.EPERM), "clone3": errno.ENOSYS},
        new_namespaces=True,
    )


def _refuse(errors: Mapping[str, int], *, new_namespaces: bool = False) -> None:
    """Install a filter that answers calls with errors, and lets all others through."""
    no_new_privileges = 38
    _call("prctl", no_new_privileges, 1, 0, 0, 0)
    load, equal, any_bit, end = 0x20, 0x15, 0x45, 0x06
    code = [(load, 0, 0, 0)]
    for name, error in errors.items():
        code += [(equal, 0, 1, _number(name)), (end, 0, 0, bpf.ERRNO | error)]
    if new_namespaces:
        code += [
            (equal, 0, 3, _number("clone")),
            (load, 0, 0, 16),
            (any_bit, 0, 1, NEW_NAMESPACES),
            (end, 0, 0, bpf.ERRNO | errno.EPERM),
        ]
    code.append((end, 0, 0, bpf.ALLOW))
    bpf.install(b"".join(struct.pack("=HBBI", *one) for one in code))


def _number(name: str) -> int:
    number = syscalls.number(name, on=syscalls.machine())
    assert number is not None
    return number


def _call(name: str, *arguments: int | bytes | None) -> None:
    kernel.syscall(_number(name), *arguments)
