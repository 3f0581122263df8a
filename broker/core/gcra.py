"""GCRA: a leaky bucket that keeps one number per counter.

The number is the theoretical arrival time (TAT): when the counter would be empty if
nobody came any more. All times are integer microseconds, so that Python, Lua and SQL
compute the same.

Source: ITU-T I.371, annex A (virtual scheduling algorithm).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, slots=True)
class RateStep:
    """One counter after a check: ``tat_us`` is what it keeps now, None if nothing.

    A refused check keeps what was there, unless that was further ahead than the burst.
    """

    allowed: bool
    tat_us: int | None
    remaining: int
    retry_after_us: int
    reset_us: int


def gcra(tat_us: int | None, *, now_us: int, interval_us: int, burst: int) -> RateStep:
    """Charge one request to one counter, if it has room.

    Args:
        tat_us: Theoretical arrival time that the counter keeps, None if it is new.
        now_us: Now, on the clock that all users of the counter share.
        interval_us: What one request costs.
        burst: How many may come at once, at least 1.

    Source: ITU-T I.371, annex A (virtual scheduling algorithm).
    """
    return gcra_all([tat_us], now_us=now_us, paces=[(interval_us, burst)])[0]


def gcra_all(
    tats_us: Sequence[int | None],
    *,
    now_us: int,
    paces: Sequence[tuple[int, int]],
) -> tuple[RateStep, ...]:
    """Charge one request to all counters, or to none of them if one has no room.

    Args:
        tats_us: What each counter keeps, None if it is new.
        now_us: Now, on the clock that all users of the counters share.
        paces: Interval in microseconds and burst of each counter.

    Source: as `gcra`.
    """
    kept = [
        _bounded(tat, now_us=now_us, tolerance_us=interval * burst)
        for tat, (interval, burst) in zip(tats_us, paces, strict=True)
    ]
    starts = [now_us if tat is None else max(now_us, tat) for tat in kept]
    waits = [
        max(0, start + interval - (now_us + interval * burst))
        for start, (interval, burst) in zip(starts, paces, strict=True)
    ]
    charged = not any(waits)
    steps = []
    for tat, start, wait, (interval, burst) in zip(
        kept, starts, waits, paces, strict=True
    ):
        end = start + interval if charged else start
        steps.append(
            RateStep(
                allowed=wait == 0,
                tat_us=end if charged else tat,
                remaining=(interval * burst - (end - now_us)) // interval,
                retry_after_us=wait,
                reset_us=end - now_us,
            )
        )
    return tuple(steps)


def _bounded(tat_us: int | None, *, now_us: int, tolerance_us: int) -> int | None:
    # A counter is never further ahead than its burst. If it seems to be, the clock
    # went back or the rule was narrowed: one burst from now is the most that can have
    # been taken. It is kept so even if refused, or the wait would never end.
    return None if tat_us is None else min(tat_us, now_us + tolerance_us)
