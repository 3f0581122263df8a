"""Kill parts of a real stack, as a machine does, and wait until all of it is back."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from pathlib import Path

from broker.cli.stack.running import Running, descendants, running

BACK_S_MAX = 120.0
_FINE = {"ready", "done", "elsewhere"}


def found(state: Path) -> Running:
    """Return where the stack is."""
    stack = running(state)
    assert stack is not None, "the stack itself has ended"
    return stack


def kill(state: Path, parts: tuple[str, ...]) -> None:
    """Kill parts with all that is below them, at once and without warning."""
    tops = [row.pid for row in found(state).rows if row.part in parts and row.pid]
    for pid in {pid for top in tops for pid in descendants(top)}:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


async def back(state: Path, *, restarted: dict[str, int]) -> None:
    """Wait until every part is ready again, the killed ones as another process."""
    until = time.monotonic() + BACK_S_MAX
    while True:
        rows = found(state).rows
        late = [
            f"{row.part}: {row.state} {row.detail}"
            for row in rows
            if row.state not in _FINE or row.restarts < restarted.get(row.part, 0)
        ]
        if not late:
            return
        assert time.monotonic() < until, f"not back: {', '.join(late)}"
        await asyncio.sleep(0.1)


def restarts(state: Path) -> dict[str, int]:
    """Return how often each part was started again so far."""
    return {row.part: row.restarts for row in found(state).rows}
