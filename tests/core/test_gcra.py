"""GCRA: how many come through, and what a jumping clock may not do."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.core.gcra import gcra, gcra_all
from broker.core.words.budget import RATE_BURST_MAX, RATE_HORIZON_US_MAX

NOW = 1_795_000_000_000_000

intervals = st.integers(1, 10_000_000)
bursts = st.integers(1, 50)
paces = st.tuples(intervals, bursts)
gaps = st.lists(st.integers(0, 3_000_000), min_size=1, max_size=60)


@given(interval_us=intervals, burst=bursts, gaps=gaps)
def test_no_stretch_of_time_admits_more_than_burst_and_pace(interval_us, burst, gaps):
    now, tat, admitted = NOW, None, []
    for gap in gaps:
        now += gap
        step = gcra(tat, now_us=now, interval_us=interval_us, burst=burst)
        if step.allowed:
            admitted.append(now)
        tat = step.tat_us
    for first, start in enumerate(admitted):
        for last in range(first, len(admitted)):
            most = burst + (admitted[last] - start) // interval_us
            assert last - first + 1 <= most


@given(interval_us=intervals, burst=bursts)
def test_a_fresh_counter_admits_its_burst_at_once_and_then_waits(interval_us, burst):
    tat = None
    for left in reversed(range(burst)):
        step = gcra(tat, now_us=NOW, interval_us=interval_us, burst=burst)
        assert step.allowed
        assert (step.remaining, step.retry_after_us) == (left, 0)
        tat = step.tat_us
    refused = gcra(tat, now_us=NOW, interval_us=interval_us, burst=burst)
    assert not refused.allowed
    assert refused.tat_us == tat
    assert refused.remaining == 0


@given(tat=st.none() | st.integers(0, 2 * NOW), pace=paces)
def test_after_the_wait_that_a_refusal_names_one_more_comes_through(tat, pace):
    interval_us, burst = pace
    step = gcra(tat, now_us=NOW, interval_us=interval_us, burst=burst)
    later = NOW + step.retry_after_us
    again = gcra(step.tat_us, now_us=later, interval_us=interval_us, burst=burst)
    if not step.allowed:
        assert step.retry_after_us >= 1
        assert again.allowed
        early = gcra(
            step.tat_us, now_us=later - 1, interval_us=interval_us, burst=burst
        )
        assert not early.allowed


@given(tat=st.none() | st.integers(0, 2 * NOW), pace=paces)
def test_after_the_reset_that_is_named_the_whole_burst_is_back(tat, pace):
    interval_us, burst = pace
    step = gcra(tat, now_us=NOW, interval_us=interval_us, burst=burst)
    again = gcra(
        step.tat_us,
        now_us=NOW + step.reset_us,
        interval_us=interval_us,
        burst=burst,
    )
    assert again.remaining == burst - 1


@given(
    pace=paces,
    taken=st.integers(1, 60),
    jump_us=st.integers(1, 10**15),
)
def test_a_clock_that_jumps_back_locks_nobody_out_for_longer_than_a_burst(
    pace, taken, jump_us
):
    interval_us, burst = pace
    tat = None
    for _ in range(taken):
        step = gcra(tat, now_us=NOW, interval_us=interval_us, burst=burst)
        tat = step.tat_us
    back = NOW - jump_us
    step = gcra(tat, now_us=back, interval_us=interval_us, burst=burst)
    assert step.retry_after_us <= interval_us
    assert step.reset_us <= interval_us * burst
    later = back + step.retry_after_us
    again = gcra(step.tat_us, now_us=later, interval_us=interval_us, burst=burst)
    assert again.allowed or step.allowed


@given(
    counters=st.lists(
        st.tuples(st.none() | st.integers(NOW - 10**8, NOW + 10**9), paces),
        min_size=1,
        max_size=8,
    )
)
def test_all_counters_are_charged_or_none(counters):
    tats = [tat for tat, _ in counters]
    steps = gcra_all(tats, now_us=NOW, paces=[pace for _, pace in counters])
    alone = [
        gcra(tat, now_us=NOW, interval_us=interval, burst=burst)
        for tat, (interval, burst) in counters
    ]
    assert [step.allowed for step in steps] == [step.allowed for step in alone]
    if all(step.allowed for step in alone):
        assert list(steps) == alone
    else:
        for step, tat, (_, (interval, burst)) in zip(
            steps, tats, counters, strict=True
        ):
            assert step.tat_us == (tat and min(tat, NOW + interval * burst))


@given(tat=st.none() | st.integers(0, 2**53), pace=paces)
def test_what_is_reported_stays_within_the_burst(tat, pace):
    interval_us, burst = pace
    step = gcra(tat, now_us=NOW, interval_us=interval_us, burst=burst)
    assert 0 <= step.remaining <= burst
    assert 0 <= step.reset_us <= interval_us * burst
    assert 0 <= step.retry_after_us <= interval_us


def test_the_longest_horizon_stays_exact_in_a_double() -> None:
    interval_us = RATE_HORIZON_US_MAX // RATE_BURST_MAX
    step = gcra(2**60, now_us=NOW, interval_us=interval_us, burst=RATE_BURST_MAX)
    assert not step.allowed
    assert NOW + RATE_HORIZON_US_MAX < 2**53


def test_a_pace_per_counter_is_needed() -> None:
    with pytest.raises(ValueError, match="zip"):
        gcra_all([None, None], now_us=NOW, paces=[(1, 1)])
