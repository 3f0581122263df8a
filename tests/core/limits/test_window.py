"""Windows: which moments a budget counts together."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.core.limits.window import (
    SLIDING,
    Window,
    bucket_since,
    bucket_start,
    window_start,
)

moments = st.integers(86_400 * 60, 250_000_000_000).map(
    lambda seconds: datetime.fromtimestamp(seconds, UTC)
)
sliding = st.sampled_from(sorted(SLIDING))


@given(moments, sliding)
def test_a_moment_lies_in_its_bucket(now, window) -> None:
    width, _ = SLIDING[window]
    start = bucket_start(window, now)
    assert start <= now < start + width
    assert bucket_start(window, start) == start


@given(now=moments, window=sliding, ago=st.floats(0, 1))
def test_a_sliding_window_covers_all_of_its_length_and_one_bucket_at_most_beyond(
    now, window, ago
) -> None:
    width, length = SLIDING[window]
    since = bucket_since(window, now)
    assert bucket_start(window, now - ago * length) >= since
    assert length <= now - since < length + width


@given(now=moments, window=sliding)
def test_what_left_a_sliding_window_does_not_come_back(now, window) -> None:
    width, _ = SLIDING[window]
    assert bucket_since(window, now + width) == bucket_since(window, now) + width


@pytest.mark.parametrize("window", [*SLIDING, Window.EVER, Window.PENDING])
def test_what_does_not_start_anew_has_one_row_for_good(window) -> None:
    long_ago = datetime(1970, 1, 1, tzinfo=UTC)
    assert window_start(window, datetime(2026, 11, 23, 21, tzinfo=UTC)) == long_ago


def test_every_bucket_divides_its_window() -> None:
    for width, length in SLIDING.values():
        assert length % width == timedelta(0)
