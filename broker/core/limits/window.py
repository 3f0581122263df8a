"""For how long a budget counts: fixed windows, sliding ones, and two that last.

A sliding window is counted in buckets of a fixed width. It covers the bucket of now and
all that reach into the time before, so it is up to one bucket longer than its name says
and never shorter: no stretch of that length ever sees more than the limit.

PostgreSQL does the same arithmetic (``budget_bucket``, ``budget_since``); a test
compares.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, assert_never

if TYPE_CHECKING:
    from collections.abc import Mapping

_EVER = datetime(1970, 1, 1, tzinfo=UTC)


class Window(StrEnum):
    """For how long a budget counts; days and months are those of UTC.

    ``HOUR``, ``DAY`` and ``MONTH`` start anew. ``LAST_...`` slide: what was posted
    leaves them bucket by bucket, what is held stays. ``EVER`` never starts anew.
    ``PENDING`` counts only what is held, executing or unknown: what was posted or
    voided is gone from it.
    """

    HOUR = "hour"
    DAY = "day"
    MONTH = "month"
    LAST_HOUR = "last_hour"
    LAST_DAY = "last_day"
    LAST_30_DAYS = "last_30_days"
    EVER = "ever"
    PENDING = "pending"


SLIDING: Mapping[Window, tuple[timedelta, timedelta]] = {
    Window.LAST_HOUR: (timedelta(minutes=5), timedelta(hours=1)),
    Window.LAST_DAY: (timedelta(hours=1), timedelta(hours=24)),
    Window.LAST_30_DAYS: (timedelta(hours=24), timedelta(hours=720)),
}
"""Width of a bucket, and length of the window, of those that slide."""


def window_start(window: Window, now: datetime) -> datetime:
    """Return when the current window began, in UTC; one fixed moment if it never does.

    Raises:
        ValueError: ``now`` carries no time zone.
    """
    if now.tzinfo is None:
        msg = "now must carry a time zone"
        raise ValueError(msg)
    hour = now.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    match window:
        case Window.HOUR:
            return hour
        case Window.DAY:
            return hour.replace(hour=0)
        case Window.MONTH:
            return hour.replace(day=1, hour=0)
        case (
            Window.LAST_HOUR
            | Window.LAST_DAY
            | Window.LAST_30_DAYS
            | Window.EVER
            | Window.PENDING
        ):
            return _EVER
        case _:
            assert_never(window)


def bucket_start(window: Window, at: datetime) -> datetime:
    """Return the bucket of a sliding window that a moment belongs to."""
    width, _ = SLIDING[window]
    return at - (at - _EVER) % width


def bucket_since(window: Window, now: datetime) -> datetime:
    """Return the oldest bucket that a sliding window still covers."""
    _, length = SLIDING[window]
    return bucket_start(window, now) - length
