"""Hold the dispatcher's end of one zygote: start it, have it fork, see children end.

A zygote is confined but not trusted: with preloading, connector code runs in it. What
it says is read strictly, whether a child ended is asked of the kernel, and a descriptor
that it presents as its child's is believed only if the kernel agrees.
"""

import asyncio
import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

from tools import frames, limits

T = TypeVar("T")

ALL_LAYERS: Final = frozenset({"landlock", "seccomp", "limits", "namespaces"})
"""What confines a zygote and its children. Only control runs of tests take less."""

# Not resolved: where this process is confined, it may read the folder that `tools` was
# imported from, and not the checkout that the folder's links lead to.
CHECKOUT: Final = Path(__file__).absolute().parent.parent

ENDED: Final = "end"

# Isolated: no environment, no user site, no .pth files, no bytecode written.
_PYTHON: Final = (sys.executable, "-I", "-S", "-B", "-X", "utf8")
_BOOT: Final = (
    "import sys; sys.path.insert(0, sys.argv[1]); from tools.zygote import main; main()"
)
_TRUNCATED: Final = socket.MSG_TRUNC | socket.MSG_CTRUNC
_FDINFO_PID: Final = re.compile(r"^Pid:\t(-?[0-9]+)$", re.MULTILINE)
_STATUS_PARENT: Final = re.compile(r"^PPid:\t([0-9]+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Order:
    """What a zygote is for: a connector's folder, and how it is confined.

    ``libraries`` is the folder of third-party code that the connector brings, if any;
    ``join`` puts the process under the limits that the connector has as a whole.
    """

    folder: Path
    libraries: Path | None = None
    preload: bool = False
    layers: frozenset[str] = ALL_LAYERS
    join: Callable[[int], None] = lambda _process: None


class ZygoteError(Exception):
    """A zygote did not start, or ended; ``stage`` says how far it came."""

    def __init__(self, *, stage: str, why: str) -> None:
        """Keep the stage: ``start``, ``namespaces``, ``jail``, ``import``, ``end``."""
        super().__init__(f"{stage}: {why}")
        self.stage = stage


class Child:
    """The process of one call, as the dispatcher sees it.

    ``channel`` and ``output`` are this side's ends; they are closed with it.
    """

    def __init__(self, channel: socket.socket, output: int) -> None:
        """Take this side's ends, and await the zygote's fork."""
        loop = asyncio.get_running_loop()
        self.channel = channel
        self.output = output
        self.began: asyncio.Future[None] = loop.create_future()
        self.ended: asyncio.Future[None] = loop.create_future()
        self.reported: asyncio.Future[str] = loop.create_future()
        self._pidfd = -1

    def begin(self, pidfd: int) -> None:
        """Take the descriptor of the process that the zygote forked."""
        self._pidfd = pidfd
        asyncio.get_running_loop().add_reader(pidfd, self._on_end)
        _settle(self.began, None)

    def lose(self) -> None:
        """Note that its zygote has ended, which ends it too."""
        _settle(self.reported, "its zygote ended")
        _settle(self.began, None)
        self.kill()
        if self._pidfd < 0:
            _settle(self.ended, None)

    def kill(self) -> None:
        """End the process now, whatever it is doing."""
        if self._pidfd >= 0:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)

    def close(self) -> None:
        """Let go of it; it is killed if it lives."""
        self.kill()
        if self._pidfd >= 0:
            asyncio.get_running_loop().remove_reader(self._pidfd)
            os.close(self._pidfd)
            self._pidfd = -1
        if self.output >= 0:
            self.channel.close()
            os.close(self.output)
            self.output = -1

    def _on_end(self) -> None:
        asyncio.get_running_loop().remove_reader(self._pidfd)
        _settle(self.ended, None)


class ZygoteLink:
    """One zygote process and the socket on which it takes orders."""

    def __init__(
        self, launched: subprocess.Popen[bytes], control: socket.socket
    ) -> None:
        """Take a process that was just started; see `start_zygote`."""
        loop = asyncio.get_running_loop()
        self.pid = 0
        self.ready: asyncio.Future[None] = loop.create_future()
        self.prepared: asyncio.Future[None] = loop.create_future()
        self.ended: asyncio.Future[str] = loop.create_future()
        self._launched = launched
        self._control = control
        self._children: dict[int, Child] = {}
        self._numbers = 0
        self._confined = False
        loop.add_reader(control, self._on_messages)

    async def prepare(self, *, preload: bool) -> None:
        """Have the connector compiled, or with ``preload`` imported for all calls.

        Raises:
            ZygoteError: The zygote ended over it, or took ZYGOTE_START_S_MAX.
        """
        try:
            async with asyncio.timeout(limits.ZYGOTE_START_S_MAX):
                _send(self._control, {"prepare": preload}, ())
                await asyncio.shield(self.prepared)
        except (OSError, TimeoutError) as error:
            self.end("it does not import its connector")
            raise ZygoteError(stage="import", why=type(error).__name__) from error

    def fork(self, *, probing: bool = False) -> Child:
        """Have a child forked for a call; every child must be `forget`-ed.

        Args:
            probing: The child imports no connector, but the probe.

        Raises:
            ZygoteError: The zygote has ended, or does not take more.
            OSError: There are no descriptors left.
        """
        self._numbers += 1
        with contextlib.ExitStack() as stack:
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
            stack.callback(theirs.close)
            with contextlib.ExitStack() as undo:
                undo.callback(ours.close)
                output, sink = os.pipe2(os.O_CLOEXEC)
                undo.callback(os.close, output)
                stack.callback(os.close, sink)
                ours.settimeout(0)
                os.set_blocking(output, False)
                message = {"fork": self._numbers, "probe": probing}
                try:
                    _send(self._control, message, (theirs.fileno(), sink))
                except OSError as error:
                    raise ZygoteError(stage=ENDED, why=type(error).__name__) from error
                undo.pop_all()
        child = self._children[self._numbers] = Child(ours, output)
        return child

    def forget(self, child: Child) -> None:
        """Let go of a child; it is killed if it lives."""
        for number, known in self._children.items():
            if known is child:
                del self._children[number]
                break
        child.close()

    def end(self, why: str) -> None:
        """Kill the zygote, and with it its children."""
        if self.ended.done():
            return
        self.ended.set_result(why)
        asyncio.get_running_loop().remove_reader(self._control)
        self._control.close()
        # Its group, which the filter lets nobody leave: a poisoned zygote may have
        # forked what nobody was told of. The number is its own until it is waited for.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._launched.pid, signal.SIGKILL)
        self._launched.kill()
        self._launched.wait()
        for child in self._children.values():
            child.lose()
        self._fail(ZygoteError(stage=ENDED, why=why))

    def _fail(self, error: ZygoteError) -> None:
        for future in (self.ready, self.prepared):
            if not future.done():
                future.set_exception(error)
                future.exception()  # Whoever still awaits it gets it; nobody has to.

    def _on_messages(self) -> None:
        while not self.ended.done():
            descriptors: list[int] = []
            try:
                data, descriptors, flags, _ = socket.recv_fds(
                    self._control, limits.NOTICE_BYTES_MAX, 1
                )
                self._take(data, descriptors, whole=not flags & _TRUNCATED)
            except BlockingIOError:
                return
            except (OSError, frames.FrameError, ZygoteError) as error:
                self.end(f"{type(error).__name__}: {error}")
            finally:
                for fd in descriptors:
                    os.close(fd)

    def _take(self, data: bytes, descriptors: list[int], *, whole: bool) -> None:
        """Take a message; what stays in ``descriptors`` is closed afterwards."""
        if not data:
            raise ZygoteError(stage=ENDED, why="it closed its socket")
        message = frames.decode(data, depth_max=2) if whole else {}
        match message:
            case {"forked": number} if type(number) is int:
                self._on_forked(number, descriptors)
            case {"ended": number, "exit": status} | {
                "ended": number,
                "signal": status,
            } if type(number) is int and type(status) is int:
                word = "exit" if "exit" in message else "signal"
                if child := self._children.get(number):
                    _settle(child.reported, f"{word} {status}")
            case {"pid": pid} if type(pid) is int and not self.pid:
                self.pid = pid
                self._on_ready()
            case {"ready": True}:
                self._confined = True
                self._on_ready()
            case {"prepared": True} if self.ready.done():
                _settle(self.prepared, None)
            case {"failed": str() as stage, "why": str() as why}:
                self._fail(ZygoteError(stage=stage, why=why))
                self.end(why)
            case _:
                raise ZygoteError(stage=ENDED, why="it does not speak the protocol")

    def _on_ready(self) -> None:
        # With namespaces two processes say these two things, in either order.
        if self.pid and self._confined:
            _settle(self.ready, None)

    def _on_forked(self, number: int, descriptors: list[int]) -> None:
        if not descriptors or not _is_child(descriptors[0], parent=self.pid):
            raise ZygoteError(stage=ENDED, why="it presented a stranger as its child")
        child = self._children.get(number)
        if child is None:
            # Its call is over already; nobody waits for the child.
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(descriptors[0], signal.SIGKILL)
        elif not child.began.done():
            child.begin(descriptors.pop())


async def start_zygote(order: Order) -> ZygoteLink:
    """Start a zygote and return when it is confined; it has read no connector yet.

    Raises:
        ZygoteError: It did not start within ZYGOTE_START_S_MAX, or could not be
            confined; ``stage`` says where it failed.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    # recv_fds and send_fds take flags and ignore them (CPython 3.11 to 3.13).
    ours.settimeout(0)
    message = {
        "folder": str(order.folder),
        "libraries": str(order.libraries or ""),
        "layers": sorted(order.layers),
        "parent": os.getpid(),
    }
    with theirs:
        # Without a shell or Python code between fork and exec this takes milliseconds.
        launched = subprocess.Popen(  # noqa: ASYNC220
            [*_PYTHON, "-c", _BOOT, str(CHECKOUT), str(theirs.fileno())],
            env={},
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=(theirs.fileno(),),
            # A signal from a terminal is for the dispatcher, which ends calls in order.
            process_group=0,
        )
    link = ZygoteLink(launched, ours)
    try:
        async with asyncio.timeout(limits.ZYGOTE_START_S_MAX):
            # Before it knows what it is for, and so before it forks anything.
            order.join(launched.pid)
            _send(ours, message, ())
            await asyncio.shield(link.ready)
    except (OSError, TimeoutError) as error:
        link.end("it did not start")
        raise ZygoteError(stage="start", why=type(error).__name__) from error
    except BaseException:
        link.end("it did not start")
        raise
    return link


def _is_child(pidfd: int, *, parent: int) -> bool:
    """Ask the kernel whether a descriptor is of a process that this parent forked.

    A zygote that was taken over could present any process of this user, and have the
    dispatcher kill it at the deadline.
    """
    try:
        text = Path(f"/proc/self/fdinfo/{pidfd}").read_text("ascii")
        found = _FDINFO_PID.search(text)
        if not found:
            return False
        pid = int(found[1])
        if pid < 0:
            return True  # Ended and reaped already: it can be killed no more.
        status = Path(f"/proc/{pid}/status").read_text("utf-8", "replace")
    except OSError:
        # It ended while we looked. What its number may name next is not looked at.
        return True
    parents = _STATUS_PARENT.search(status)
    return parents is not None and int(parents[1]) == parent


def _settle(future: asyncio.Future[T], value: T) -> None:
    if not future.done():
        future.set_result(value)


def _send(
    control: socket.socket, message: Mapping[str, object], descriptors: tuple[int, ...]
) -> None:
    data = frames.encode(message, bytes_max=limits.NOTICE_BYTES_MAX)
    socket.send_fds(control, [data[frames.HEADER_BYTES :]], descriptors)
