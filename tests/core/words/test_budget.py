"""What rules, lines and answers refuse to be."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.core.words.budget import (
    CAPPED_OBJECTS_MAX,
    COUNT_UNIT,
    RATE_BURST_MAX,
    RATE_HORIZON_US_MAX,
    RATE_PERIOD_S_MAX,
    RATE_REQUESTS_MAX,
    SCOPE_VALUE_CHARS_MAX,
    Admission,
    BudgetRule,
    CappedObject,
    CountedBy,
    LimitFacts,
    Line,
    RateAnswer,
    RateRule,
    ReservationState,
    Scope,
    Window,
)
from broker.core.words.money import AMOUNT_MINOR_UNITS_MAX

RATE = RateRule("calls", frozenset({Scope.AGENT}), requests=60, period_s=60, burst=10)
BUDGET = BudgetRule("refunds", frozenset({Scope.AGENT}), "USD", Window.DAY, 100)
FACTS = LimitFacts("demo", "dev", "retail-care", "a1", "orders.refund")
LINE = Line(
    rule_id="refunds",
    budget_id="0" * 64,
    window=Window.DAY,
    window_start=datetime(2026, 11, 23, tzinfo=UTC),
    unit="USD",
    limit=100,
    amount=1,
)


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


@pytest.mark.parametrize("rule", [RATE, BUDGET])
def test_a_rule_needs_a_plain_name_and_a_scope(rule) -> None:
    for wrong in ("", "Upper", "1st", "a b", "{a}", "a" * 65):
        with pytest.raises(ValueError, match="name"):
            replace(rule, rule_id=wrong)
    with pytest.raises(ValueError, match="scope"):
        replace(rule, per=frozenset())


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"unit": "usd"}, "currency"),
        ({"unit": "money"}, "currency"),
        ({"limit": -1}, "limit"),
        ({"limit": 1.5}, "limit"),
        ({"limit": True}, "limit"),
        ({"limit": AMOUNT_MINOR_UNITS_MAX + 1}, "limit"),
        ({"limit": None}, "object"),
        ({"limit": None, "per": frozenset({Scope.OBJECT}), "unit": COUNT_UNIT}, "obj"),
        ({"object_kind": "order"}, "object"),
    ],
)
def test_a_budget_that_could_not_be_counted_is_refused(change, problem) -> None:
    with pytest.raises(ValueError, match=problem):
        replace(BUDGET, **change)


def test_a_budget_may_be_as_large_as_an_amount() -> None:
    assert replace(BUDGET, limit=AMOUNT_MINOR_UNITS_MAX).limit is not None


@pytest.mark.parametrize("wrong", [0, -1, 1.5, 1.0, True, AMOUNT_MINOR_UNITS_MAX + 1])
def test_a_line_takes_whole_positive_amounts_only(wrong) -> None:
    assert replace(LINE, amount=AMOUNT_MINOR_UNITS_MAX).amount
    with pytest.raises(ValueError, match="amount"):
        replace(LINE, amount=wrong)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"posted": -1}, "negative"),
        ({"held": -1}, "negative"),
        ({"limit": -1}, "limit"),
        ({"limit": AMOUNT_MINOR_UNITS_MAX + 1}, "limit"),
        ({"window_start": datetime(2026, 11, 23)}, "time zone"),  # noqa: DTZ001
    ],
)
def test_a_line_that_cannot_be_true_is_refused(change, problem) -> None:
    with pytest.raises(ValueError, match=problem):
        replace(LINE, **change)


@pytest.mark.parametrize("wrong", ["", "De mo", "a}b", "{a", "a" * 64])
def test_a_tenant_that_could_leave_its_hash_tag_is_refused(wrong) -> None:
    with pytest.raises(ValueError, match="name a tenant"):
        replace(FACTS, tenant=wrong)


def test_facts_are_bounded_in_length_and_number() -> None:
    order = CappedObject("order", "0" * SCOPE_VALUE_CHARS_MAX, None)
    orders = tuple(replace(order, ref=str(n)) for n in range(CAPPED_OBJECTS_MAX))
    assert replace(FACTS, objects=orders).objects == orders
    with pytest.raises(ValueError, match="objects"):
        replace(FACTS, objects=(*orders, order))
    assert replace(FACTS, objects=(order,)).objects == (order,)
    with pytest.raises(ValueError, match="longer"):
        replace(FACTS, objects=(replace(order, ref=order.ref + "0"),))


@pytest.mark.parametrize("name", ["use_case", "agent_id", "tool"])
def test_facts_without_an_agent_tool_or_use_case_are_refused(name) -> None:
    with pytest.raises(ValueError, match="needed"):
        replace(FACTS, **cast("dict[str, Any]", {name: ""}))


def test_an_action_is_admitted_while_it_is_held_and_not_once_it_has_ended() -> None:
    admitted = {
        state for state in (None, *ReservationState) if Admission(state=state).admitted
    }
    assert admitted == {None, ReservationState.HELD, ReservationState.EXECUTING}
    assert not Admission(over=(LINE,)).admitted
    assert not Admission(stale=(LINE,)).admitted


def test_headers_round_waits_up_and_name_retry_after_only_for_a_refusal() -> None:
    answer = RateAnswer(
        allowed=False,
        counted_by=CountedBy.VALKEY,
        rule_id="calls",
        limit=10,
        retry_after_us=1_000_001,
        reset_us=9_000_000,
    )
    assert answer.headers() == {
        "RateLimit-Limit": "10",
        "RateLimit-Remaining": "0",
        "RateLimit-Reset": "9",
        "Retry-After": "2",
    }
    assert "Retry-After" not in replace(answer, allowed=True).headers()
    assert RateAnswer(allowed=True, counted_by=CountedBy.NONE).headers() == {}


def test_a_line_says_whether_it_counts_money_or_actions() -> None:
    assert LINE.kind == "amount"
    assert replace(LINE, unit=COUNT_UNIT).kind == "count"
