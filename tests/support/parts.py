"""Make small parts for tests of the supervisor: what they do is a line of shell."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING

from broker.cli.stack.parts import Ends, FileExists, Part
from broker.cli.stack.state import CHECKOUT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


def shell(folder: Path, name: str, script: str, **rest) -> Part:
    """Return a part that runs a shell script in ``folder``.

    ``$ready`` is the file that makes it ready, ``$name`` its name; ``journal WORD``
    appends "name WORD" to the folder's journal.
    """
    preamble = 'journal() { echo "$name $1" >> journal; }\n'
    return Part(
        name=name,
        argv=("/bin/sh", "-c", f"cd {folder}\n{preamble}{script}"),
        environment={
            "PYTHONPATH": str(CHECKOUT),
            "PATH": "/usr/bin:/bin",
            "name": name,
            "ready": f"{name}.ready",
        },
        probe=FileExists(folder / f"{name}.ready"),
        **rest,
    )


SERVES = """
trap 'journal stopped; exit 0' TERM
journal started; touch $ready
while :; do sleep 60 & wait $!; done
"""


def server(folder: Path, name: str, **rest) -> Part:
    """Return a part that becomes ready, serves, and stops when it is asked to."""
    return shell(folder, name, SERVES, **rest)


def once(folder: Path, name: str, script: str = "journal ran", **rest) -> Part:
    """Return a part that runs and ends."""
    part = shell(folder, name, script, **rest)
    return Part(
        name=part.name,
        argv=part.argv,
        environment=part.environment,
        probe=Ends(),
        after=part.after,
        uses=part.uses,
        ready_s_max=part.ready_s_max,
    )


def journal(folder: Path) -> list[str]:
    """Return what the parts have noted."""
    try:
        return (folder / "journal").read_text().splitlines()
    except FileNotFoundError:
        return []


def alive(pid: int) -> bool:
    """Tell whether a process runs; one that waits to be reaped does not."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return text.rpartition(")")[2].split()[0] not in "ZX"


def until(true: Callable[[], object], *, within_s: float = 10.0) -> bool:
    """Wait for something to become true; tell whether it did."""
    end = time.monotonic() + within_s
    while not true():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


def end(pids: Iterable[int]) -> None:
    """Kill what a failed test left."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
