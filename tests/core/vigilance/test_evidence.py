"""The test of vigilance: false alarms are as rare as it says, and misses are found."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.core.vigilance.evidence import (
    ALARM_AT,
    SEEN_MAX,
    TOLERATED_MISS,
    alarms,
    evidence,
)

RUNS = 800


def first_alarm(rate: float, *, within: int, seed: int) -> int | None:
    """Return after how many canaries somebody with this miss rate is found, if ever."""
    draw, missed = random.Random(seed), 0
    for seen in range(1, within + 1):
        missed += draw.random() < rate
        if alarms(missed, seen=seen):
            return seen
    return None


def found(rate: float, *, within: int) -> list[int]:
    tried = (first_alarm(rate, within=within, seed=seed) for seed in range(RUNS))
    return sorted(one for one in tried if one is not None)


def test_who_misses_what_is_tolerated_is_rarely_suspended_at_any_look() -> None:
    share = len(found(TOLERATED_MISS, within=120)) / RUNS
    spread = (1 / ALARM_AT * (1 - 1 / ALARM_AT) / RUNS) ** 0.5
    assert share <= 1 / ALARM_AT + 3 * spread


def test_half_missed_is_found_after_about_fourteen_and_a_tenth_never() -> None:
    half = found(0.5, within=60)
    assert len(half) / RUNS > 0.97
    assert 11 <= half[len(half) // 2] <= 17
    assert 0.22 <= len(found(0.3, within=60)) / RUNS <= 0.42
    assert len(found(0.1, within=60)) / RUNS <= 0.01


@given(seen=st.integers(0, 60))
def test_one_who_misses_nothing_is_never_suspicious(seen: int) -> None:
    assert evidence(0, seen=seen) <= 1.0 + 1e-9


@given(data=st.data(), seen=st.integers(1, SEEN_MAX))
def test_one_more_miss_is_more_evidence_and_a_catch_is_less(data, seen: int) -> None:
    missed = data.draw(st.integers(0, seen - 1))
    assert evidence(missed + 1, seen=seen) > evidence(missed, seen=seen)


@given(seen=st.integers(0, 40))
def test_the_evidence_is_a_fair_game_at_the_tolerated_rate(seen: int) -> None:
    # The expectation of the next value is the present one: nothing is won by looking.
    for missed in range(seen + 1):
        now = evidence(missed, seen=seen)
        after = TOLERATED_MISS * evidence(missed + 1, seen=seen + 1)
        after += (1 - TOLERATED_MISS) * evidence(missed, seen=seen + 1)
        assert after == pytest.approx(now, rel=1e-9)


@pytest.mark.parametrize(
    ("missed", "seen"), [(-1, 1), (2, 1), (0, -1), (0, SEEN_MAX + 1)]
)
def test_numbers_that_cannot_be_are_refused(missed: int, seen: int) -> None:
    with pytest.raises(ValueError, match="nobody misses"):
        evidence(missed, seen=seen)
    assert evidence(0, seen=0) == pytest.approx(1.0)
