"""Time two sides in turns, and write what was seen as a row against its baseline."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import Any, TypeVar

from broker.cli.stack.running import descendants

TURNS = 5
TURNS_MIN = 2
ROW_S_MAX = 3.0
"""A slow machine takes fewer turns, so that the whole bench stays short."""
TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_CPUCLOCK_SCHED = 2

Row = dict[str, Any]
T = TypeVar("T")


def row(name: str, value: float, unit: str, baseline: float) -> Row:
    """Return a row of the table; a ratio to nothing is 0."""
    ratio = value / baseline if baseline else 0.0
    return {
        "row": name,
        "value": round(value, 3),
        "unit": unit,
        "baseline": round(baseline, 3),
        "ratio": round(ratio, 2),
    }


def rounds(seconds: float) -> Iterator[int]:
    """Count to TURNS; past TURNS_MIN, begin no turn after this many seconds."""
    began = time.monotonic()
    for turn in range(TURNS):
        if turn >= TURNS_MIN and time.monotonic() - began > seconds:
            return
        yield turn


async def turns(
    measure: Callable[[T], Awaitable[float]], ours: T, floor: T
) -> tuple[float, float]:
    """Return the medians of what ``measure`` says of us and of the floor."""
    mine, raw = [], []
    for _ in rounds(ROW_S_MAX):
        # In turns, so that what else the machine does falls on both.
        raw.append(await measure(floor))
        mine.append(await measure(ours))
    return median(mine), median(raw)


def quantile(values: Sequence[float], share: float) -> float:
    """Return the smallest value that this share of the values does not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def cpu_s(pids: Iterable[int]) -> float:
    """Return what processes, all below them and their dead children have computed.

    The living are read from their CPU clocks, in nanoseconds; the dead are known in
    ticks. Source: clock_getcpuclockid(3), proc_pid_stat(5).
    """
    total = 0.0
    for top in pids:
        for pid in descendants(top):
            try:
                total += time.clock_gettime((~pid << 3) | _CPUCLOCK_SCHED)
                line = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace")
            except OSError:
                # It has just ended; its parent knows.
                continue
            fields = line.rpartition(")")[2].split()
            total += (int(fields[13]) + int(fields[14])) / TICKS_PER_S
    return total
