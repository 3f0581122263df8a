"""The process that is forked for each call of one connector.

It confines itself before it reads a line of connector code, and forks a child per call.
Connector code is compiled here but run only in the child, unless a manifest asked for
preloading: code that ran here once could keep every later call's arguments. Arguments
and connections do not pass through this process: children get them from the dispatcher.

Started by the dispatcher as ``python -I -S -B -c BOOT CHECKOUT CONTROL_FD``. It is told
what to do in one message on the control socket, and lives as long as its other end.
"""

import contextlib
import gc
import os
import select
import socket
import sys
from collections.abc import Mapping
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_file_location
from types import CodeType, ModuleType
from typing import Any, Final, NoReturn

from tools import frames, limits, runner
from tools.jail import bpf, filters, landlock, probe, process, syscalls

EXIT_ENDED: Final = 0
EXIT_NOT_STARTED: Final = 64

_NO_HOME: Final = "/nonexistent"
_DESCRIPTORS: Final = 2  # channel and output
_MODULE: Final = "connector"

# Where the loader finds libraries, and what the time functions read.
_SYSTEM_READABLE: Final = (
    *("/usr/lib", "/usr/lib64", "/usr/local/lib", "/lib", "/lib64"),
    *("/etc/ld.so.cache", "/etc/localtime", "/usr/share/zoneinfo"),
)


class _Loader(SourceFileLoader):
    """Loads a module from code that was compiled, but not run, before the fork."""

    compiled: CodeType | None = None

    def get_code(self, fullname: str) -> CodeType | None:
        return self.compiled or super().get_code(fullname)


class Zygote:
    """A confined process, its control socket and the children it has forked."""

    def __init__(self, control: socket.socket, order: Mapping[str, Any]) -> None:
        """Take the keeper's order; nothing is confined yet."""
        self._control = control
        self._folder: str = order["folder"]
        self._libraries: str = order["libraries"]
        self._layers = frozenset(order["layers"])
        self._calls: dict[int, int] = {}  # by the pidfd of the call's child
        self._poll = select.poll()
        self._loader = _Loader(_MODULE, f"{self._folder}/{_MODULE}.py")
        self._module: ModuleType | None = None
        self._jail = self._build_jail()

    def _build_jail(self) -> runner.Jail:
        readable = [*sys.path, *_SYSTEM_READABLE, self._folder]
        if self._libraries:
            readable.append(self._libraries)
        on = syscalls.machine()
        return runner.Jail(
            null=os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC),
            ruleset=landlock.ruleset(readable) if "landlock" in self._layers else None,
            program=(
                filters.child_program(machine=on) if "seccomp" in self._layers else None
            ),
            limited="limits" in self._layers,
        )

    def confine(self) -> None:
        """Give up everything but forking, reading code and talking to the dispatcher.

        Raises:
            OSError: A layer was refused.
        """
        os.environ.clear()
        if self._libraries:
            # Libraries look for settings in a home, and some fail without one.
            os.environ["HOME"] = _NO_HOME
        if self._jail.limited:
            process.limit_zygote()
        if self._layers:
            process.give_up_privileges()
        if self._jail.ruleset is not None:
            # The child takes the same rule once more: a domain of its own keeps it from
            # tracing and signalling the zygote and other children.
            landlock.restrict(self._jail.ruleset)
        if self._jail.program is not None:
            bpf.install(filters.zygote_program(machine=syscalls.machine()))

    def serve(self) -> None:
        """Fork whenever asked, until the dispatcher closes the control socket."""
        self._poll.register(self._control, select.POLLIN)
        self._send({"ready": True})
        while True:
            for fd, _ in self._poll.poll():
                if fd != self._control.fileno():
                    self._reap(fd)
                elif not self._take():
                    return

    def _take(self) -> bool:
        data, descriptors, _, _ = socket.recv_fds(
            self._control, limits.NOTICE_BYTES_MAX, _DESCRIPTORS
        )
        if not data:
            return False
        match frames.decode(data, depth_max=limits.FRAME_DEPTH_MAX):
            case {"fork": int() as number, "probe": bool() as probing}:
                self._fork(number, descriptors, probing=probing)
            case {"prepare": bool() as preload}:
                self._prepare(preload=preload)
            case _:
                return False
        return True

    def _prepare(self, *, preload: bool) -> None:
        """Compile the connector, or with ``preload`` import it for all calls."""
        # What does not compile fails in the child, where failing is reported.
        with contextlib.suppress(Exception):
            self._loader.compiled = self._loader.get_code(_MODULE)
        if preload:
            try:
                self._module = self._import()
            except BaseException as error:  # noqa: BLE001 it may raise anything
                self._send({"failed": "import", "why": type(error).__name__})
                os._exit(EXIT_NOT_STARTED)
        gc.collect()
        # A collection in a child would touch, and so copy, every page it inherits.
        gc.freeze()
        self._send({"prepared": True})

    def _fork(self, number: int, descriptors: list[int], *, probing: bool) -> None:
        channel, output = descriptors
        load = _find_probe if probing else self._find
        order = runner.Order(channel, output, load=load, parent=os.getpid())
        pid = os.fork()
        if pid == 0:
            runner.become_child(self._jail, order)
        for fd in descriptors:
            os.close(fd)
        pidfd = os.pidfd_open(pid)
        self._calls[pidfd] = number
        self._poll.register(pidfd, select.POLLIN)
        self._send({"forked": number}, pidfd)

    def _reap(self, pidfd: int) -> None:
        ended = os.waitid(os.P_PIDFD, pidfd, os.WEXITED)
        assert ended is not None  # noqa: S101 without WNOHANG there is an answer
        self._poll.unregister(pidfd)
        os.close(pidfd)
        how = "exit" if ended.si_code == os.CLD_EXITED else "signal"
        self._send({"ended": self._calls.pop(pidfd), how: ended.si_status})

    def _send(self, message: Mapping[str, object], *descriptors: int) -> None:
        send(self._control, message, *descriptors)

    def _find(self) -> runner.Find:
        module = self._module or self._import()
        return lambda name: vars(module)[name]

    def _import(self) -> ModuleType:
        spec = spec_from_file_location(_MODULE, self._loader.path, loader=self._loader)
        assert spec is not None  # noqa: S101 a loader was given
        # Last, and only where connector code runs anyway: its own modules are found,
        # and none of them, nor a library, takes the place of another.
        if self._libraries:
            sys.path.append(self._libraries)
        sys.path.append(self._folder)
        module = module_from_spec(spec)
        sys.modules[_MODULE] = module
        self._loader.exec_module(module)
        return module


def _find_probe() -> runner.Find:
    return lambda _name: probe.attempt_all


def send(
    control: socket.socket, message: Mapping[str, object], *descriptors: int
) -> None:
    """Send a message, in one piece, to the dispatcher."""
    data = frames.encode(message, bytes_max=limits.NOTICE_BYTES_MAX)
    socket.send_fds(control, [data[frames.HEADER_BYTES :]], descriptors)


def enter_namespaces(control: socket.socket) -> None:
    """Go on as the first process of new namespaces; the old one only waits for it.

    When it ends, for whatever reason, the kernel ends every child with it.

    Raises:
        OSError: User namespaces do not work here.
    """
    process.enter_namespaces()
    pid = os.fork()
    if pid:
        _wait_for(pid, control)
    # The parent is outside, where it has no number.
    process.die_with_parent(0)


def _wait_for(pid: int, control: socket.socket) -> NoReturn:
    send(control, {"pid": pid})
    control.close()
    process.give_up_privileges()
    os.waitpid(pid, 0)
    os._exit(EXIT_ENDED)


def main() -> NoReturn:
    """Be a zygote; tell the dispatcher in one message if that cannot be."""
    checkout, fd = sys.argv[1:]
    sys.path.remove(checkout)
    sys.argv.clear()
    control = socket.socket(fileno=int(fd))
    order: dict[str, Any] = frames.decode(
        control.recv(limits.NOTICE_BYTES_MAX), depth_max=limits.FRAME_DEPTH_MAX
    )
    stage = "start"
    try:
        process.die_with_parent(order["parent"])
        if "namespaces" in order["layers"]:
            stage = "namespaces"
            enter_namespaces(control)
        else:
            send(control, {"pid": os.getpid()})
        stage = "jail"
        zygote = Zygote(control, order)
        zygote.confine()
    except Exception as error:  # noqa: BLE001 whatever it is, it is told
        with contextlib.suppress(OSError):
            send(control, {"failed": stage, "why": f"{type(error).__name__}: {error}"})
        os._exit(EXIT_NOT_STARTED)
    with contextlib.suppress(OSError):
        zygote.serve()
    os._exit(EXIT_ENDED)
