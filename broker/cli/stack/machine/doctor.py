"""Check what the stack needs from this machine, each thing in a line."""

import ctypes
import os
import platform
import resource
import shutil
import struct
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from broker.cli.stack.launch import confine, kernel, namespaces
from broker.cli.stack.machine import ports
from broker.cli.stack.machine.host import platform_refusal, unreachable
from broker.cli.stack.state import (
    LONGEST_SOCKET,
    SOCKET_PATH_BYTES_MAX,
    needed,
)

DISK_BYTES_MIN = 1024**3
MEMORY_BYTES_MIN = 1536 * 1024**2
FILES_MIN = 1024
LANDLOCK_ABI_GOOD = 6
_PR_SET_SECCOMP = 22
_SECCOMP_MODE_FILTER = 2
_ALLOW_EVERYTHING = struct.pack("=HBBI", 0x06, 0, 0, 0x7FFF0000)


class Health(Enum):
    """What a check found."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check.

    Attributes:
        check: What was looked at.
        health: How it is.
        found: What was found.
        hint: What to do about it; empty when there is nothing to do.
    """

    check: str
    health: Health
    found: str
    hint: str = ""


def examine(
    state: Path,
    *,
    wanted_ports: tuple[int, ...],
    own_ports: frozenset[int] = frozenset(),
) -> Iterator[Finding]:
    """Yield a finding per check; nothing is changed.

    ``own_ports`` are those that the stack of this state has taken itself.
    """
    yield _platform()
    yield _python()
    yield from _programs()
    yield _user_namespaces()
    yield _network_namespaces()
    yield _landlock()
    yield _seccomp()
    yield _state_folder(state)
    yield _reach(state)
    yield _socket_paths(state)
    yield _disk(state)
    yield _memory()
    yield _open_files()
    for port in wanted_ports:
        yield _port(port, own=port in own_ports)


def _platform() -> Finding:
    found = f"{platform.system()} {platform.release()} on {platform.machine()}"
    refusal = platform_refusal()
    if refusal:
        return Finding("platform", Health.FAILED, found, refusal)
    return Finding("platform", Health.OK, found)


def _python() -> Finding:
    found = f"{platform.python_version()} in {sys.prefix}"
    if sys.prefix == sys.base_prefix:
        return Finding(
            "python",
            Health.WARNING,
            f"{found}, not an environment of its own",
            "use `make up`, or .venv/bin/python: other packages may own our names",
        )
    return Finding("python", Health.OK, found)


def _programs() -> Iterator[Finding]:
    # Imported here: without the wheels the other checks still work.
    from broker.cli.stack.servers import postgres, temporal, valkey  # noqa: PLC0415

    found: dict[str, Callable[[], Path]] = {
        "postgres": lambda: postgres.programs() / "postgres",
        "valkey": valkey.program,
        "temporal": temporal.program,
    }
    for name, locate in found.items():
        try:
            path = locate()
        except FileNotFoundError as error:
            yield Finding(name, Health.FAILED, "missing", str(error))
            continue
        if os.access(path, os.X_OK):
            yield Finding(name, Health.OK, str(path))
        else:
            yield Finding(
                name,
                Health.FAILED,
                f"{path} cannot be executed",
                "remove .venv and run `make up` again",
            )


def _user_namespaces() -> Finding:
    refusal = namespaces.refusal(network=False)
    if not refusal:
        return Finding("user namespaces", Health.OK, "allowed")
    if os.geteuid() == 0:
        return Finding(
            "user namespaces",
            Health.FAILED,
            f"refused ({refusal})",
            "PostgreSQL refuses root: run as an ordinary user, or set "
            "COUNTERFOIL_DATABASE_URL, or allow them (sysctl "
            "user.max_user_namespaces, kernel.apparmor_restrict_unprivileged_userns=0)",
        )
    return Finding(
        "user namespaces",
        Health.WARNING,
        f"refused ({refusal})",
        "not needed as an ordinary user; Temporal's port is then open to this host",
    )


def _network_namespaces() -> Finding:
    refusal = namespaces.refusal(network=True)
    if not refusal:
        return Finding("network namespaces", Health.OK, "allowed")
    return Finding(
        "network namespaces",
        Health.WARNING,
        f"refused ({refusal})",
        "Temporal listens on a port of this host, where other users reach it",
    )


def _landlock() -> Finding:
    version = confine.abi()
    if not version:
        return Finding(
            "landlock",
            Health.FAILED,
            "not offered by this kernel",
            "use Linux 5.13 or newer, with landlock in CONFIG_LSM or in lsm=",
        )
    found = f"interface version {version}"
    if version < LANDLOCK_ABI_GOOD:
        return Finding(
            "landlock",
            Health.WARNING,
            f"{found}: files are confined, signals and abstract sockets are not",
            "Linux 6.12 or newer confines those too",
        )
    return Finding("landlock", Health.OK, found)


def _seccomp() -> Finding:
    if _seccomp_works():
        return Finding("seccomp", Health.OK, "filters are accepted")
    return Finding(
        "seccomp",
        Health.FAILED,
        "filters are refused",
        "use a kernel with CONFIG_SECCOMP_FILTER, or a container that lets it through",
    )


def _seccomp_works() -> bool:
    """Put a filter that allows everything on a child."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
            program = ctypes.create_string_buffer(_ALLOW_EVERYTHING)
            filters = ctypes.create_string_buffer(
                struct.pack("@HP", 1, ctypes.addressof(program))
            )
            kernel.prctl(
                _PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.addressof(filters)
            )
            code = 0
        except OSError:
            code = 1
        os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def _state_folder(state: Path) -> Finding:
    existing = _existing(state)
    if state.exists() and state.stat().st_uid != os.geteuid():
        return Finding(
            "state folder",
            Health.FAILED,
            f"{state} belongs to uid {state.stat().st_uid}",
            "name another folder with --state",
        )
    if not os.access(existing, os.W_OK | os.X_OK):
        return Finding(
            "state folder",
            Health.FAILED,
            f"{existing} cannot be written to",
            "name another folder with --state",
        )
    return Finding("state folder", Health.OK, str(state))


def _reach(state: Path) -> Finding:
    closed = unreachable(*needed(state))
    if not closed:
        return Finding("folders", Health.OK, "open to parts without privileges")
    return Finding(
        "folders",
        Health.FAILED,
        f"{closed} is closed to root without its privileges",
        "run as the user whom the folders above it belong to, or use root's own",
    )


def _socket_paths(state: Path) -> Finding:
    length = len(os.fsencode(state / LONGEST_SOCKET))
    found = f"{length} of {SOCKET_PATH_BYTES_MAX} bytes"
    if length <= SOCKET_PATH_BYTES_MAX:
        return Finding("socket paths", Health.OK, found)
    return Finding(
        "socket paths",
        Health.OK,
        f"{found}: a short folder in the system's temporary one is used",
    )


def _disk(state: Path) -> Finding:
    free = shutil.disk_usage(_existing(state)).free
    found = f"{free / 1024**3:.1f} GiB free"
    if free >= DISK_BYTES_MIN:
        return Finding("disk", Health.OK, found)
    return Finding(
        "disk", Health.FAILED, found, "make room, or name another folder with --state"
    )


def _memory() -> Finding:
    lines = Path("/proc/meminfo").read_text("ascii").splitlines()
    kib = next(int(line.split()[1]) for line in lines if "MemAvailable" in line)
    found = f"{kib / 1024:.0f} MiB available"
    if kib * 1024 >= MEMORY_BYTES_MIN:
        return Finding("memory", Health.OK, found)
    return Finding("memory", Health.WARNING, found, "the stack uses about 900 MiB")


def _open_files() -> Finding:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= FILES_MIN:
        return Finding("open files", Health.OK, f"{soft} per process")
    return Finding(
        "open files",
        Health.WARNING,
        f"{soft} per process",
        f"raise the limit to {FILES_MIN}: ulimit -n {FILES_MIN}",
    )


def _port(port: int, *, own: bool) -> Finding:
    name = f"port {port}"
    if ports.is_free(port):
        return Finding(name, Health.OK, "free")
    by = ports.owner(port)
    found = f"taken by {by}" if by else "taken"
    if own:
        return Finding(name, Health.OK, f"{found}, which is this stack's")
    return Finding(name, Health.WARNING, found, "the next free port will be used")


def _existing(path: Path) -> Path:
    """Return the path or the nearest folder above it that exists."""
    return next(one for one in (path, *path.parents) if one.exists())
