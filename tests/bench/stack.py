"""Start the stack twice on one state; say how long it took and what it holds idle."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from broker.cli.stack.running import Running, running
from broker.cli.stack.state import CHECKOUT
from tests.bench.measure import Row, row

FIRST_S_MAX, SECOND_S_MAX, PSS_MIB_MAX = 60.0, 10.0, 900.0
"""What a start, a second one and the idle stack are allowed; their rows' baselines."""
IDLE_S = 5.0
COMMAND_S_MAX = 120.0
KIB_PER_MIB = 1_024


class Stack:
    """A stack of the bench's own."""

    def __init__(self, state: Path) -> None:
        """Name its state; nothing is started yet."""
        self._state = state

    @property
    def state(self) -> Path:
        """Return its folder."""
        return self._state

    def up(self) -> float:
        """Start it; return the seconds that the command took."""
        began = time.monotonic()
        _counterfoil("up", "--detach", "--bare", "--state", str(self._state))
        return time.monotonic() - began

    def down(self) -> None:
        """Stop it."""
        _counterfoil("down", "--state", str(self._state))

    def found(self) -> Running:
        """Return where it is."""
        found = running(self._state)
        assert found is not None
        return found

    def pss(self) -> list[Row]:
        """Wait until it is idle; return the memory of each part and of all."""
        time.sleep(IDLE_S)
        said = _counterfoil("status", "--json", "--state", str(self._state))
        status: dict[str, Any] = json.loads(said)
        parts = {one["part"]: one["pss_kib"] for one in status["rows"]}
        parts = {part: kib for part, kib in parts.items() if kib}
        return [
            row(f"idle Pss of {part}", kib / KIB_PER_MIB, "MiB", PSS_MIB_MAX)
            for part, kib in (*parts.items(), ("all", status["pss_kib"]))
        ]


@contextmanager
def fresh() -> Iterator[Stack]:
    """Give a stack that was never started; stop and delete it afterwards."""
    with tempfile.TemporaryDirectory(prefix="counterfoil-bench-") as folder:
        state = Path(folder) / "state"
        try:
            yield Stack(state)
        finally:
            if state.exists():
                _counterfoil("reset", "--yes", "--state", str(state))


def start_row(which: str, took_s: float, allowed_s: float) -> Row:
    """Return the row of a start."""
    return row(f"start-up, {which}", took_s, "s", allowed_s)


def _counterfoil(*words: str) -> str:
    done = subprocess.run(
        [sys.executable, "-P", "-m", "broker.cli", *words],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=COMMAND_S_MAX,
        env=os.environ | {"PYTHONPATH": str(CHECKOUT)},
        check=False,
    )
    if done.returncode:
        msg = f"counterfoil {words[0]} failed:\n{done.stdout[-2_000:]}{done.stderr}"
        raise RuntimeError(msg)
    return done.stdout
