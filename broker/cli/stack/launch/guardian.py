"""Leave no process behind, whatever becomes of the supervisor.

The process that the user started stays as guardian and forks the supervisor. When the
supervisor ends, even by kill -9, whoever it leaves becomes the guardian's child, and
is killed: nothing that belongs to a stack may live on without it. When the guardian
itself is killed, the supervisor is told by the kernel and stops in good order; when
both are, each part's own parent-death signal does the rest.
"""

import contextlib
import os
import signal
import sys
import time
from collections.abc import Collection, Iterable
from pathlib import Path

from broker.cli.stack.launch import kernel

SWEEP_S_MAX = 10.0
MODULE = "broker.cli.stack.launch.guardian"
_FORWARDED = (signal.SIGTERM, signal.SIGHUP)
_BLOCKED = (*_FORWARDED, signal.SIGINT)


def fork_supervisor(*, closing: Iterable[int] = ()) -> None:
    """Fork, and return in the child: the supervisor.

    The process that called becomes the guardian, another program: what the supervisor
    needs in memory, the guardian does not. It ends after every descendant has ended,
    with the supervisor's exit code. Call it while the process has one thread. SIGINT
    of a terminal reaches both by itself.

    Args:
        closing: Descriptors that the guardian does not keep open.
    """
    kernel.prctl(kernel.PR_SET_CHILD_SUBREAPER, 1)
    guardian = os.getpid()
    sys.stdout.flush()
    sys.stderr.flush()
    # Blocked until the guardian has its handlers: in between nobody would forward it.
    signal.pthread_sigmask(signal.SIG_BLOCK, _BLOCKED)
    pid = os.fork()
    if pid == 0:
        # The reaper attribute is not inherited. If the guardian has died here already,
        # this raises, and the supervisor ends before it started anything.
        kernel.die_with_parent(signal.SIGTERM, parent=guardian)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _BLOCKED)
        return
    for fd in closing:
        os.close(fd)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[4])}
    command = [sys.executable, "-P", "-S", "-m", MODULE, str(pid)]
    os.execve(command[0], command, environment)  # noqa: S606 no shell is the point


def guard(supervisor: int) -> int:
    """Stay until the supervisor and all below it have ended; return its exit code."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for signum in _FORWARDED:
        signal.signal(signum, lambda number, _frame: _kill(supervisor, number))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _BLOCKED)
    code = _watch(supervisor)
    _sweep()
    return code


def _watch(supervisor: int) -> int:
    """Wait for the supervisor and return its exit code; 128 + n for signal n."""
    _, status = os.waitpid(supervisor, 0)
    code = os.waitstatus_to_exitcode(status)
    return 128 - code if code < 0 else code


def kill_orphans(spared: Collection[int]) -> None:
    """Kill the children that became this process's own when their parents ended.

    Source: PR_SET_CHILD_SUBREAPER in prctl(2).

    Args:
        spared: Children that this process started itself; those in its own session
            are spared too.
    """
    own = os.getsid(0)
    for child in children(os.getpid()):
        with contextlib.suppress(ProcessLookupError):
            if child not in spared and os.getsid(child) != own:
                _kill(child, signal.SIGKILL)
                _reap(child)


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


if __name__ == "__main__":
    sys.exit(guard(int(sys.argv[1])))
