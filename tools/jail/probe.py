"""Try to escape, for real, from inside a call's child.

The dispatcher runs this once in a child of every new zygote, before any connector does,
and looks from outside whether an attempt had an effect. A version number would only say
what a kernel should be able to refuse.
"""

import ctypes
import errno
import os
import signal
import socket
from collections.abc import Callable
from typing import Final

from tools.jail import kernel, syscalls
from tools.sdk import Call

REFUSED: Final = "refused"
OPEN: Final = "open"

_FORBIDDEN: Final = frozenset(
    {errno.EPERM, errno.EACCES, errno.ENOSYS, errno.ENOMEM, errno.EROFS}
)
_PTRACE_ATTACH: Final = 16
_MEMORY_BYTES: Final = 1 << 30
_NEW_USER_NAMESPACE: Final = 0x10000000
_OWN_DESCRIPTORS: Final = 5


def attempt_all(call: Call) -> dict[str, object]:
    """Make every attempt; return its name with what came of it.

    Arguments of the call: ``file`` and ``process`` hold a secret that this user may
    read, ``write`` names a file that it may create, ``port`` on the loopback and
    ``socket`` are listening, ``abstract`` likewise.
    """
    return {name: _outcome(attempt, call) for name, attempt in ATTEMPTS.items()}


def _outcome(attempt: Callable[[Call], object], call: Call) -> str:
    try:
        attempt(call)
    except MemoryError:
        return f"{REFUSED}: ENOMEM"
    except OSError as error:
        word = errno.errorcode.get(error.errno or 0, str(error.errno))
        return f"{REFUSED if error.errno in _FORBIDDEN else OPEN}: {word}"
    return OPEN


def _read_file(call: Call) -> None:
    with open(str(call.arguments["file"]), "rb") as file:  # noqa: PTH123 few imports
        file.read()


def _read_environment(call: Call) -> None:
    with open(f"/proc/{call.arguments['process']}/environ", "rb") as file:  # noqa: PTH123
        file.read()


def _read_accounts(_call: Call) -> None:
    with open("/etc/passwd", "rb") as file:  # noqa: PTH123 few imports
        file.read()


def _write_file(call: Call) -> None:
    path = str(call.arguments["write"])
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600))


def _connect_port(call: Call) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as peer:
        peer.connect(("127.0.0.1", call.arguments["port"]))


def _send_datagram(call: Call) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
        peer.sendto(b"probe", ("127.0.0.1", call.arguments["port"]))


def _connect_path(call: Call) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as peer:
        peer.connect(str(call.arguments["socket"]))


def _connect_abstract(call: Call) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as peer:
        peer.connect(b"\0" + str(call.arguments["abstract"]).encode())


def _ask_netlink(_call: Call) -> None:
    socket.socket(socket.AF_NETLINK, socket.SOCK_RAW).close()


def _fork(_call: Call) -> None:
    if os.fork() == 0:
        os._exit(0)


def _start_program(_call: Call) -> None:
    # Should it work, nobody is left to report, which counts as an escape.
    os.execve("/bin/true", ["true"], {})  # noqa: S606 no shell is the point


def _trace_zygote(_call: Call) -> None:
    _syscall("ptrace", _PTRACE_ATTACH, os.getppid(), 0, 0)


def _signal_zygote(_call: Call) -> None:
    # Should it work, the zygote ends, and the dispatcher does not start.
    os.kill(os.getppid(), signal.SIGKILL)


def _signal_dispatcher(call: Call) -> None:
    os.kill(int(str(call.arguments["process"])), signal.SIGCONT)


def _read_zygote(call: Call) -> None:
    with open(f"/proc/{call.arguments['zygote']}/mem", "rb") as file:  # noqa: PTH123
        file.read(0)


def _enter_namespace(_call: Call) -> None:
    _syscall("unshare", _NEW_USER_NAMESPACE)


def _use_rings(_call: Call) -> None:
    _syscall("io_uring_setup", 1, bytes(120))


def _store_key(_call: Call) -> None:
    _syscall("add_key", b"user", b"probe", b"x", 1, -3)


def _load_program(_call: Call) -> None:
    _syscall("bpf", 0, bytes(128), 128)


def _make_memory_file(_call: Call) -> None:
    _syscall("memfd_create", b"probe", 0)


def _become_dumpable(_call: Call) -> None:
    _syscall("prctl", 4, 1, 0, 0, 0)


def _take_memory(_call: Call) -> None:
    ctypes.create_string_buffer(_MEMORY_BYTES)


def _find_descriptors(_call: Call) -> None:
    for fd in range(_OWN_DESCRIPTORS, 4096):
        try:
            os.fstat(fd)
        except OSError:
            continue
        return
    raise OSError(errno.EACCES, "none but its own")


def _syscall(name: str, *arguments: int | bytes) -> None:
    number = syscalls.number(name, on=syscalls.machine())
    if number is None:
        raise OSError(errno.ENOSYS, name)
    kernel.syscall(number, *arguments)


ATTEMPTS: Final[dict[str, Callable[[Call], object]]] = {
    "read_file": _read_file,
    "read_environment": _read_environment,
    "read_accounts": _read_accounts,
    "write_file": _write_file,
    "connect_port": _connect_port,
    "send_datagram": _send_datagram,
    "connect_path": _connect_path,
    "connect_abstract": _connect_abstract,
    "ask_netlink": _ask_netlink,
    "fork": _fork,
    "trace_zygote": _trace_zygote,
    "signal_zygote": _signal_zygote,
    "signal_dispatcher": _signal_dispatcher,
    "read_zygote": _read_zygote,
    "enter_namespace": _enter_namespace,
    "use_rings": _use_rings,
    "store_key": _store_key,
    "load_program": _load_program,
    "make_memory_file": _make_memory_file,
    "become_dumpable": _become_dumpable,
    "take_memory": _take_memory,
    "find_descriptors": _find_descriptors,
    "start_program": _start_program,
}
