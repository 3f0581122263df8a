"""What rules, lines and answers refuse to be."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, cast

import pytest

from broker.core.words.budget import (
    CAPPED_OBJECTS_MAX,
    COUNT_UNIT,
    CUSTOMERS_UNIT,
    RECORDS_UNIT,
    SCOPE_VALUE_CHARS_MAX,
    Admission,
    BudgetRule,
    CappedObject,
    LimitFacts,
    Line,
    ReservationState,
    Scope,
    Window,
)
from broker.core.words.money import AMOUNT_MINOR_UNITS_MAX

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


def test_a_line_says_whether_it_counts_money_or_actions() -> None:
    assert LINE.kind == "amount"
    assert replace(LINE, unit=COUNT_UNIT).kind == "count"


def test_a_rule_needs_a_plain_name_and_a_scope() -> None:
    for wrong in ("", "Upper", "1st", "a b", "{a}", "a" * 65):
        with pytest.raises(ValueError, match="name"):
            replace(BUDGET, rule_id=wrong)
    with pytest.raises(ValueError, match="scope"):
        replace(BUDGET, per=frozenset())


@pytest.mark.parametrize("unit", ["dollars", "usd", "", "record"])
def test_a_unit_is_a_currency_or_one_of_the_counts(unit) -> None:
    with pytest.raises(ValueError, match="neither"):
        replace(BUDGET, unit=unit)
    for known in (COUNT_UNIT, CUSTOMERS_UNIT, RECORDS_UNIT, "EUR"):
        assert replace(BUDGET, unit=known).of_money is (known == "EUR")


@pytest.mark.parametrize("unit", [CUSTOMERS_UNIT, RECORDS_UNIT])
def test_what_is_read_is_neither_pending_nor_counted_per_object(unit) -> None:
    rule = replace(BUDGET, unit=unit)
    with pytest.raises(ValueError, match="a read holds nothing"):
        replace(rule, window=Window.PENDING)
    with pytest.raises(ValueError, match="a read holds nothing"):
        replace(rule, per=frozenset({Scope.OBJECT}))


def test_customers_are_counted_in_fixed_windows_and_not_each_alone() -> None:
    rule = replace(BUDGET, unit=CUSTOMERS_UNIT)
    for change in (
        {"window": Window.LAST_DAY},
        {"per": frozenset({Scope.AGENT, Scope.CUSTOMER})},
    ):
        with pytest.raises(ValueError, match="customers are counted"):
            replace(rule, **cast("dict[str, Any]", change))
    assert replace(BUDGET, unit=RECORDS_UNIT, window=Window.LAST_DAY).limit == 100


@pytest.mark.parametrize("wrong", [0, -1, AMOUNT_MINOR_UNITS_MAX + 1, 1.5, True])
def test_a_cap_per_action_is_a_whole_amount_of_money(wrong) -> None:
    most = AMOUNT_MINOR_UNITS_MAX
    assert replace(BUDGET, per_action=most).per_action == most
    with pytest.raises(ValueError, match="per_action"):
        replace(BUDGET, per_action=wrong)
    for unit in (COUNT_UNIT, RECORDS_UNIT):
        with pytest.raises(ValueError, match="per_action"):
            replace(BUDGET, unit=unit, per_action=1)
