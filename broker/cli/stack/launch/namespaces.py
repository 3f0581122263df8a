"""Enter namespaces of one's own, as root or as an ordinary user."""

import fcntl
import os
import socket
import struct
from pathlib import Path

from broker.cli.stack.launch import kernel

CLONE_NEWUSER = 0x10000000
CLONE_NEWNET = 0x40000000

UID_MAPPED = 65534
"""Who root becomes inside: PostgreSQL refuses uid 0, and 65534 is in every passwd."""

_SIOCGIFFLAGS = 0x8913
_SIOCSIFFLAGS = 0x8914
_IFF_UP = 0x1


def enter(*, network: bool) -> None:
    """Enter a new user namespace, and with ``network`` a new network too.

    Outside, files and signals still belong to the same user; inside, root appears as
    an unprivileged user and an ordinary user as itself. The new network has nothing
    but a loopback device, which is brought up.

    Raises:
        OSError: This kernel, container or user may not have namespaces.

    Source: user_namespaces(7), network_namespaces(7).
    """
    uid, gid = os.geteuid(), os.getegid()
    kernel.unshare(CLONE_NEWUSER | (CLONE_NEWNET if network else 0))
    # Before gid_map, or the kernel refuses the map to an unprivileged writer.
    Path("/proc/self/setgroups").write_text("deny", encoding="ascii")
    Path("/proc/self/uid_map").write_text(f"{uid or UID_MAPPED} {uid} 1", "ascii")
    Path("/proc/self/gid_map").write_text(f"{gid or UID_MAPPED} {gid} 1", "ascii")
    if network:
        _bring_loopback_up()


def _bring_loopback_up() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        request = struct.pack("16sh22x", b"lo", 0)
        answer = fcntl.ioctl(control, _SIOCGIFFLAGS, request)
        (flags,) = struct.unpack_from("h", answer, 16)
        request = struct.pack("16sh22x", b"lo", flags | _IFF_UP)
        fcntl.ioctl(control, _SIOCSIFFLAGS, request)


def refusal(*, network: bool) -> str:
    """Try it in a child and return why it fails, or nothing when it works."""
    pid = os.fork()
    if pid == 0:
        # The child leaves by _exit alone: the parent's handlers are not its own.
        code = 0
        try:
            enter(network=network)
        except OSError as error:
            code = error.errno or 1
        os._exit(code & 0xFF)
    _, status = os.waitpid(pid, 0)
    code = os.waitstatus_to_exitcode(status)
    return os.strerror(code) if code > 0 else ""
