"""Leave no process behind, whatever becomes of the supervisor.

The process that the user started stays as guardian and forks the supervisor. Whoever
below it loses their parent becomes the guardian's child, and is killed: nothing that
belongs to a stack may live on without it. When the supervisor ends, even by kill -9,
the guardian ends what is left. When the guardian itself is killed, the supervisor is
told by the kernel and stops in good order; when both are, each part's own
parent-death signal does the rest.
"""

import contextlib
import os
import select
import signal
import time
from collections.abc import Iterable
from pathlib import Path

from broker.cli.stack.launch import kernel

POLL_S = 0.2
SWEEP_S_MAX = 10.0
_FORWARDED = (signal.SIGTERM, signal.SIGHUP)


def fork_supervisor(*, closing: Iterable[int] = ()) -> int | None:
    """Fork; return None in the child and the child's exit code in the guardian.

    The guardian returns only after every descendant has ended. Call it while the
    process has one thread. SIGINT of a terminal reaches both by itself.

    Args:
        closing: Descriptors that the guardian does not keep open.
    """
    kernel.prctl(kernel.PR_SET_CHILD_SUBREAPER, 1)
    guardian = os.getpid()
    # Blocked over the fork: a signal in between would find no one to forward to.
    signal.pthread_sigmask(signal.SIG_BLOCK, [*_FORWARDED, signal.SIGINT])
    pid = os.fork()
    if pid == 0:
        # The reaper attribute is not inherited. If the guardian has died here already,
        # this raises, and the supervisor ends before it started anything.
        kernel.die_with_parent(signal.SIGTERM, parent=guardian)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [*_FORWARDED, signal.SIGINT])
        return None
    for fd in closing:
        os.close(fd)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for signum in _FORWARDED:
        signal.signal(signum, lambda number, _frame: _kill(pid, number))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [*_FORWARDED, signal.SIGINT])
    code = _watch(pid)
    _sweep()
    return code


def _watch(supervisor: int) -> int:
    """Wait for the supervisor, killing every orphan meanwhile; return its exit code."""
    fd = os.pidfd_open(supervisor)
    try:
        while True:
            # WNOHANG on the supervisor alone: an orphan's end must not hide its end.
            pid, status = os.waitpid(supervisor, os.WNOHANG)
            if pid:
                return _exit_code(status)
            for child in children(os.getpid()):
                if child != supervisor:
                    _kill(child, signal.SIGKILL)
                    _reap(child)
            _wait(fd, POLL_S)
    finally:
        os.close(fd)


def _wait(pidfd: int, timeout_s: float) -> None:
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    poll.poll(timeout_s * 1000)


def _sweep() -> None:
    """Kill whoever is left; each one's children come to us in turn."""
    until = time.monotonic() + SWEEP_S_MAX
    while time.monotonic() < until:
        left = children(os.getpid())
        if not left:
            return
        for child in left:
            _kill(child, signal.SIGKILL)
            _reap(child)


def children(pid: int) -> tuple[int, ...]:
    """Return the process ids of a process's children; none for one that is gone."""
    found: list[int] = []
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            with contextlib.suppress(OSError):
                text = (task / "children").read_text("ascii")
                found.extend(int(word) for word in text.split())
    return tuple(found)


def _kill(pid: int, signum: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signum)


def _reap(pid: int) -> None:
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, 0)


def _exit_code(status: int) -> int:
    code = os.waitstatus_to_exitcode(status)
    return 128 - code if code < 0 else code
