"""Run one process of a part: start, wait, stop, and leave nothing of it behind."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from broker.cli.stack.launch.order import Order, order_to_json
from broker.cli.stack.parts import Namespaces, Part

LOG_BYTES_MAX = 32 * 1024 * 1024
KILL_S_MAX = 5.0
LINE_BYTES = 512


@dataclass(frozen=True, slots=True)
class Child:
    """A started process, the leader of a session of its own.

    Attributes:
        pid: Its process id, and the id of its process group.
        ended: Becomes its exit code; negative for the signal that ended it.
    """

    pid: int
    ended: asyncio.Future[int]


def spawn(part: Part, *, log: Path, cwd: Path) -> Child:
    """Start the part's process with its output appended to ``log``.

    Must run on the main thread: the kernel tells a child of the death of the thread
    that started it, not of the process.

    Raises:
        OSError: The process could not be started at all.
    """
    if log.exists() and log.stat().st_size > LOG_BYTES_MAX:
        log.replace(log.with_suffix(".log.1"))
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
    output = os.open(log, flags, 0o600)
    try:
        process = subprocess.Popen(
            _command(part),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=dict(part.environment),
            cwd=cwd,
            start_new_session=True,
            umask=0o077,
        )
    finally:
        os.close(output)
    return Child(process.pid, _until_ended(process))


def _command(part: Part) -> list[str]:
    rule = part.rule
    order = Order(
        argv=part.argv,
        parent=os.getpid(),
        user_namespace=part.namespaces is not Namespaces.NONE,
        network_namespace=part.namespaces is Namespaces.USER_AND_NETWORK,
        confined=rule is not None,
        read=tuple(map(str, rule.read)) if rule else (),
        write=tuple(map(str, rule.write)) if rule else (),
        hidden=tuple(map(str, rule.hidden)) if rule else (),
    )
    launcher = [sys.executable, "-P", "-S", "-m", "broker.cli.stack.launch"]
    return [*launcher, order_to_json(order)]


def _until_ended(process: "subprocess.Popen[bytes]") -> asyncio.Future[int]:
    """Return a future of the exit code, by the process's descriptor."""
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[int] = loop.create_future()
    fd = os.pidfd_open(process.pid)

    def reap() -> None:
        loop.remove_reader(fd)
        os.close(fd)
        code = process.wait()
        if not ended.done():
            ended.set_result(code)

    loop.add_reader(fd, reap)
    return ended


async def stop(child: Child, *, signum: signal.Signals, stop_s_max: float) -> int:
    """Ask a process to end, then make it end; return its exit code.

    Whatever it left in its process group is killed.

    Raises:
        TimeoutError: The kernel did not end it even so.
    """
    if not child.ended.done():
        _signal(os.kill, child.pid, signum)
        await asyncio.wait({child.ended}, timeout=stop_s_max)
    # Also when it ended by itself: its children may not have noticed.
    kill_group(child)
    async with asyncio.timeout(KILL_S_MAX):
        return await child.ended


def kill_group(child: Child) -> None:
    """Kill everything in the process's group, whether or not it still lives."""
    _signal(os.killpg, child.pid, signal.SIGKILL)


def _signal(send: Callable[[int, int], None], pid: int, signum: signal.Signals) -> None:
    try:
        send(pid, signum)
    except ProcessLookupError:
        return


def is_stopped(child: Child) -> bool:
    """Tell whether a process was stopped by a signal and so can answer nothing."""
    try:
        line = Path(f"/proc/{child.pid}/stat").read_text("utf-8", "replace")
    except OSError:
        return False
    return line.rpartition(")")[2].split()[0] in {"T", "t"}


def tail(log: Path, *, lines_max: int = 12, before: int | None = None) -> str:
    """Return the end of a log file; nothing if there is none.

    Args:
        log: The file.
        lines_max: How many lines at most; of long ones fewer.
        before: Where it ends; by default where it ends now.
    """
    try:
        end = log.stat().st_size if before is None else before
        start = max(0, end - lines_max * LINE_BYTES)
        with log.open("rb") as file:
            file.seek(start)
            text = file.read(end - start).decode("utf-8", "replace")
    except OSError:
        return ""
    return "\n".join(text.splitlines()[-lines_max:])
