"""Run the supervisor in the background, and show its start in the foreground."""

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from broker.cli.stack.events import Event, Failed, Link, Up, from_json, to_json
from broker.cli.stack.table import Display

Tell = Callable[[Event], None]


class Reporter:
    """Sends events through a pipe until the start is over, then writes to the log."""

    def __init__(self, fd: int, then: Display) -> None:
        """Write to ``fd`` and close it when told that the start is over."""
        self._pipe: int | None = fd
        self._then = then

    def tell(self, event: Event) -> None:
        """Send one event, and log it; what lets somebody in is only sent."""
        if not isinstance(event, Link):
            self._then.tell(event)
        if self._pipe is not None:
            try:
                os.write(self._pipe, (to_json(event) + "\n").encode())
            except BrokenPipeError:
                # Whoever waited has left; the stack goes on.
                self.started()

    def started(self) -> None:
        """Let the one who waits go."""
        if self._pipe is not None:
            os.close(self._pipe)
            self._pipe = None


def run(supervise: Callable[[int], int], *, log: Path, display: Display) -> bool:
    """Fork; supervise in the child, and return in the parent once it is up or failed.

    Args:
        supervise: Is given the end of a pipe for a ``Reporter``; returns an exit code.
        log: Takes what the supervisor itself writes.
        display: Shows the events of the start.

    Returns:
        Whether everything came up.
    """
    reading, writing = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid == 0:
        os.close(reading)
        os.setsid()
        _redirect(log)
        code = 1
        try:
            code = supervise(writing)
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    os.close(writing)
    up = failed = False
    try:
        with os.fdopen(reading, encoding="utf-8") as lines:
            for line in lines:
                event = from_json(line)
                up = up or isinstance(event, Up)
                failed = failed or isinstance(event, Failed)
                display.tell(event)
    except KeyboardInterrupt:
        # Asked to stop while it starts: the same as in the foreground.
        os.kill(pid, signal.SIGTERM)
        os.waitpid(pid, 0)
        raise
    return up and not failed


def _redirect(log: Path) -> None:
    null = os.open(os.devnull, os.O_RDONLY)
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(null, 0)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.close(null)
    os.close(output)
