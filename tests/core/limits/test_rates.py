"""Rates: what they refuse to be, and what an answer tells a client."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.core.limits.rates import (
    RATE_BURST_MAX,
    RATE_HORIZON_US_MAX,
    RATE_PERIOD_S_MAX,
    RATE_REQUESTS_MAX,
    CountedBy,
    RateAnswer,
    RateRule,
)
from broker.core.limits.scope import Scope

RATE = RateRule("calls", frozenset({Scope.AGENT}), requests=60, period_s=60, burst=10)


@pytest.mark.parametrize(
    ("name", "most"),
    [("requests", RATE_REQUESTS_MAX), ("period_s", RATE_PERIOD_S_MAX)],
)
def test_a_rate_is_refused_one_past_its_limits(name, most) -> None:
    most_of: dict[str, Any] = {"burst": 1} | {name: most}
    assert getattr(replace(RATE, **most_of), name) == most
    for wrong in (most + 1, 0, -1, 1.0, True):
        with pytest.raises(ValueError, match=name):
            replace(RATE, **most_of | {name: wrong})


def test_a_burst_is_refused_one_past_its_limit() -> None:
    assert replace(RATE, requests=1_000, burst=RATE_BURST_MAX).burst == RATE_BURST_MAX
    with pytest.raises(ValueError, match="burst"):
        replace(RATE, requests=1_000, burst=RATE_BURST_MAX + 1)


def test_a_burst_that_takes_more_than_a_year_to_come_back_is_refused() -> None:
    day_us = 86_400 * 1_000_000
    slow: dict[str, Any] = {"requests": 1, "period_s": 86_400}
    fits = replace(RATE, **slow, burst=RATE_HORIZON_US_MAX // day_us)
    assert fits.interval_us * fits.burst == RATE_HORIZON_US_MAX
    with pytest.raises(ValueError, match="year"):
        replace(RATE, **slow, burst=fits.burst + 1)


@given(requests=st.integers(1, RATE_REQUESTS_MAX), period_s=st.integers(1, 3_600))
def test_rounding_never_makes_a_rate_faster(requests, period_s) -> None:
    rule = replace(RATE, requests=requests, period_s=period_s, burst=1)
    assert rule.interval_us * requests >= period_s * 1_000_000
    assert (rule.interval_us - 1) * requests < period_s * 1_000_000


@pytest.mark.parametrize("scope", [Scope.OBJECT, Scope.STANDING_APPROVAL])
def test_a_rate_is_not_counted_over_objects_or_approvals(scope) -> None:
    with pytest.raises(ValueError, match="counts over"):
        replace(RATE, per=frozenset({scope}))


def test_headers_round_waits_up_and_name_retry_after_only_for_a_refusal() -> None:
    answer = RateAnswer(
        allowed=False,
        counted_by=CountedBy.VALKEY,
        rule_id="calls",
        limit=10,
        retry_after_us=1_000_001,
        reset_us=9_000_000,
        window_us=10_000_001,
    )
    assert answer.headers() == {
        "RateLimit-Policy": '"calls";q=10;w=11',
        "RateLimit": '"calls";r=0;t=9',
        "Retry-After": "2",
    }
    assert "Retry-After" not in replace(answer, allowed=True).headers()
    assert RateAnswer(allowed=True, counted_by=CountedBy.NONE).headers() == {}
