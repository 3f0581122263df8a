"""Stage 3, amounts and counts: what fits, and where money is meanwhile."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from broker.core.limit import (
    LINES_MAX,
    RESERVATION_MOVES,
    UNCOVERED,
    BudgetExceededError,
    admit,
    fits,
    headroom,
    lines_for,
    may_move,
    totals_by_rule,
    watched_keys,
    window_start,
    with_totals,
)
from broker.core.words.budget import (
    COUNT_UNIT,
    BudgetRule,
    CappedObject,
    LimitFacts,
    ReservationState,
    Scope,
    Total,
    Window,
)
from broker.core.words.errors import InvalidError
from broker.core.words.money import AMOUNT_MINOR_UNITS_MAX, Money

NOW = datetime(2026, 11, 23, 21, 45, 12, 345_678, tzinfo=UTC)
ORDER = CappedObject("order", "ref-of-an-order", Money(5_000, "USD"))
FACTS = LimitFacts(
    tenant="demo",
    environment="dev",
    use_case="retail-care",
    agent_id="agent-1",
    tool="orders.refund",
    customer_ref="ref-of-a-customer",
    connector="retail",
    amount=Money(300, "USD"),
    objects=(ORDER,),
)
AGENT_DAY = BudgetRule("agent-day", frozenset({Scope.AGENT}), "USD", Window.DAY, 1_000)
COUNTED = BudgetRule(
    "customer-count",
    frozenset({Scope.CUSTOMER, Scope.TOOL}),
    COUNT_UNIT,
    Window.HOUR,
    5,
)
PAID = BudgetRule("paid", frozenset({Scope.OBJECT}), "USD", Window.EVER, None)
PENDING = BudgetRule(
    "agent-pending", frozenset({Scope.AGENT}), COUNT_UNIT, Window.PENDING, 20
)
RULES = (AGENT_DAY, COUNTED, PAID, PENDING)

cents = st.integers(0, 10_000).map(lambda n: Money(n, "EUR"))
moments = st.integers(86_400, 250_000_000_000).map(
    lambda seconds: datetime.fromtimestamp(seconds, UTC)
)
scope_sets = st.frozensets(st.sampled_from(list(Scope)), min_size=1)


def eur(minor_units: int) -> Money:
    return Money(minor_units, "EUR")


# --------------------------------------------------------------------- headroom


@given(posted=cents, pending=st.lists(cents, max_size=20), spare=cents)
def test_headroom_is_exactly_what_no_reservation_holds(posted, pending, spare) -> None:
    taken = posted.minor_units + sum(one.minor_units for one in pending)
    limit = eur(taken + spare.minor_units)
    assert headroom(limit, posted=posted, pending=pending) == spare


def test_two_pending_refunds_cannot_share_the_last_euro() -> None:
    with pytest.raises(BudgetExceededError, match="overdrawn"):
        headroom(eur(100), posted=eur(0), pending=[eur(100), eur(1)])


def test_headroom_does_not_add_up_two_currencies() -> None:
    with pytest.raises(ValueError, match="one currency"):
        headroom(eur(100), posted=eur(0), pending=[Money(1, "USD")])


# ---------------------------------------------------------------------- windows


@given(now=moments, window=st.sampled_from([Window.HOUR, Window.DAY, Window.MONTH]))
def test_a_window_holds_now_and_starts_once(now, window) -> None:
    start = window_start(window, now)
    assert start <= now
    assert window_start(window, start) == start
    assert window_start(window, start - timedelta(microseconds=1)) < start


@given(now=moments, offset_h=st.integers(-12, 14))
def test_a_window_does_not_depend_on_the_time_zone_of_now(now, offset_h) -> None:
    local = now.astimezone(timezone(timedelta(hours=offset_h)))
    for window in Window:
        assert window_start(window, local) == window_start(window, now)


@given(now=moments, later=moments)
def test_ever_and_pending_never_start_anew(now, later) -> None:
    for window in (Window.EVER, Window.PENDING):
        assert window_start(window, now) == window_start(window, later)


def test_a_naive_now_has_no_window() -> None:
    with pytest.raises(ValueError, match="time zone"):
        window_start(Window.DAY, datetime(2026, 11, 23))  # noqa: DTZ001


# ------------------------------------------------------------------------ lines


def test_an_action_takes_from_each_budget_that_counts_it() -> None:
    lines = {line.rule_id: line for line in lines_for(RULES, FACTS, now=NOW)}
    assert set(lines) == {"agent-day", "customer-count", "paid", "agent-pending"}
    assert (lines["agent-day"].amount, lines["agent-day"].limit) == (300, 1_000)
    assert (lines["customer-count"].amount, lines["customer-count"].limit) == (1, 5)
    assert (lines["paid"].amount, lines["paid"].limit) == (300, 5_000)
    assert lines["agent-day"].window_start == datetime(2026, 11, 23, tzinfo=UTC)


def test_lines_come_in_the_order_in_which_budgets_are_locked() -> None:
    lines = lines_for(RULES, FACTS, now=NOW)
    assert [line.key for line in lines] == sorted(line.key for line in lines)


@given(
    agents=st.lists(st.text(min_size=1, max_size=30), min_size=2, max_size=2),
    per=scope_sets,
)
def test_two_agents_share_a_budget_only_if_it_is_not_counted_per_agent(
    agents, per
) -> None:
    rule = replace(AGENT_DAY, per=per)
    ids = set()
    for agent in agents:
        facts = replace(FACTS, agent_id=agent, standing_approval="s1")
        ids |= {line.budget_id for line in lines_for((rule,), facts, now=NOW)}
    shared = Scope.AGENT not in per or agents[0] == agents[1]
    assert (len(ids) == 1) is shared


@given(name=st.text(min_size=1, max_size=60), other=st.text(min_size=1, max_size=60))
def test_no_value_of_a_scope_reaches_into_another_budget(name, other) -> None:
    rule = replace(AGENT_DAY, per=frozenset({Scope.AGENT, Scope.TOOL}))
    one = replace(FACTS, agent_id=name, tool=other)
    two = replace(FACTS, agent_id=other, tool=name)
    assume(name != other)
    (first,) = lines_for((rule,), one, now=NOW)
    (second,) = lines_for((rule,), two, now=NOW)
    assert first.budget_id != second.budget_id


@pytest.mark.parametrize(
    "change",
    [
        {"tenant": "other"},
        {"environment": "prod"},
        {"agent_id": "agent-2"},
    ],
)
def test_another_tenant_environment_or_agent_has_another_budget(change) -> None:
    (mine,) = lines_for((AGENT_DAY,), FACTS, now=NOW)
    (theirs,) = lines_for((AGENT_DAY,), replace(FACTS, **change), now=NOW)
    assert mine.budget_id != theirs.budget_id


def test_a_changed_limit_or_tool_list_goes_on_with_the_same_counter() -> None:
    (before,) = lines_for((AGENT_DAY,), FACTS, now=NOW)
    changed = replace(AGENT_DAY, limit=1, tools=frozenset({FACTS.tool, "other.tool"}))
    (after,) = lines_for((changed,), FACTS, now=NOW)
    assert after.key == before.key
    assert after.limit == 1


def test_neither_customer_nor_object_stands_in_a_budget_id_or_key() -> None:
    for line in lines_for(RULES, FACTS, now=NOW):
        assert "ref-of" not in line.budget_id
        assert len(line.budget_id) == 64


def test_money_that_nobody_budgeted_for_has_a_budget_of_nothing() -> None:
    foreign = replace(FACTS, amount=Money(1, "EUR"))
    lines = lines_for(RULES, foreign, now=NOW)
    (uncovered,) = (line for line in lines if line.kind == "amount")
    assert (uncovered.rule_id, uncovered.limit, uncovered.unit) == (UNCOVERED, 0, "EUR")
    assert admit(lines).over == (uncovered,)


def test_an_action_without_money_is_only_counted() -> None:
    read = replace(FACTS, amount=None)
    kinds = {line.kind for line in lines_for(RULES, read, now=NOW)}
    assert kinds == {"count"}


def test_an_unbound_customer_is_not_counted_per_customer() -> None:
    unbound = replace(FACTS, customer_ref="")
    names = {line.rule_id for line in lines_for(RULES, unbound, now=NOW)}
    assert "customer-count" not in names


def test_a_rule_for_other_tools_counts_nothing() -> None:
    other = replace(AGENT_DAY, rule_id="other", tools=frozenset({"orders.cancel"}))
    names = {line.rule_id for line in lines_for((AGENT_DAY, other), FACTS, now=NOW)}
    assert names == {"agent-day"}


@pytest.mark.parametrize("ceiling", [None, Money(9_999, "EUR")])
def test_an_object_without_a_known_ceiling_in_this_currency_admits_nothing(
    ceiling,
) -> None:
    facts = replace(FACTS, objects=(replace(ORDER, ceiling=ceiling),))
    (line,) = lines_for((PAID,), facts, now=NOW)
    assert line.limit == 0
    assert not fits(line)


def test_each_object_has_its_own_line_and_naming_it_twice_adds_none() -> None:
    second = replace(ORDER, ref="ref-of-another", ceiling=Money(10, "USD"))
    facts = replace(FACTS, objects=(ORDER, second, ORDER))
    limits = sorted(line.limit for line in lines_for((PAID,), facts, now=NOW))
    assert limits == [10, 5_000]


def test_an_object_rule_may_be_for_one_kind() -> None:
    rule = replace(PAID, object_kind="voucher")
    lines = lines_for((rule,), FACTS, now=NOW)
    assert [line.rule_id for line in lines] == [UNCOVERED]


def test_an_amount_of_zero_is_refused() -> None:
    with pytest.raises(InvalidError, match="at least one"):
        lines_for(RULES, replace(FACTS, amount=Money(0, "USD")), now=NOW)


def test_an_action_has_at_most_so_many_lines() -> None:
    rules = tuple(replace(AGENT_DAY, rule_id=f"r{n}") for n in range(LINES_MAX + 1))
    assert len(lines_for(rules[:LINES_MAX], FACTS, now=NOW)) == LINES_MAX
    with pytest.raises(InvalidError, match="more than"):
        lines_for(rules, FACTS, now=NOW)


def test_two_rules_with_one_name_are_refused() -> None:
    with pytest.raises(ValueError, match="its own name"):
        lines_for((AGENT_DAY, AGENT_DAY), FACTS, now=NOW)


# -------------------------------------------------------------------- admission


@given(
    limit=st.integers(0, 1_000),
    posted=st.integers(0, 1_000),
    held=st.integers(0, 1_000),
    amount=st.integers(1, 1_000),
    frozen=st.booleans(),
)
def test_an_action_is_admitted_exactly_if_all_of_it_still_fits(
    limit, posted, held, amount, frozen
) -> None:
    (line,) = lines_for((AGENT_DAY,), FACTS, now=NOW)
    line = replace(
        line, limit=limit, posted=posted, held=held, amount=amount, frozen=frozen
    )
    admission = admit([line])
    assert admission.admitted == (posted + held + amount <= limit and not frozen)
    assert admission.over == (() if admission.admitted else (line,))


@given(amount=st.integers(1, 200), cap=st.integers(1, 200))
def test_one_action_takes_at_most_its_cap_and_a_known_customer_nothing(
    amount, cap
) -> None:
    (line,) = lines_for((AGENT_DAY,), FACTS, now=NOW)
    capped = replace(line, amount=amount, per_action=cap)
    assert fits(capped) is (amount <= cap)
    full = replace(line, posted=line.limit, member="c1")
    assert not fits(full)
    assert fits(replace(full, known=True))
    assert not fits(replace(full, known=True, frozen=True))


def test_one_line_without_room_refuses_all_and_is_the_one_named() -> None:
    lines = lines_for(RULES, FACTS, now=NOW)
    full = replace(lines[1], posted=lines[1].limit)
    answer = admit([lines[0], full, *lines[2:]])
    assert not answer.admitted
    assert answer.over == (full,)


@given(amounts=st.lists(st.integers(1, 400), max_size=40), limit=st.integers(0, 2_000))
def test_no_sequence_of_admissions_overspends(amounts, limit) -> None:
    (line,) = lines_for((AGENT_DAY,), FACTS, now=NOW)
    held = 0
    for amount in amounts:
        asked = replace(line, limit=limit, amount=amount, held=held)
        if admit([asked]).admitted:
            held += amount
    assert held <= limit


def test_the_largest_amounts_are_added_exactly() -> None:
    (line,) = lines_for((AGENT_DAY,), FACTS, now=NOW)
    full = replace(line, limit=AMOUNT_MINOR_UNITS_MAX, posted=AMOUNT_MINOR_UNITS_MAX)
    assert not fits(replace(full, amount=1))
    assert fits(replace(full, posted=AMOUNT_MINOR_UNITS_MAX - 1, amount=1))


def test_two_lines_for_one_budget_are_refused() -> None:
    (line,) = lines_for((AGENT_DAY,), FACTS, now=NOW)
    with pytest.raises(ValueError, match="the same"):
        admit([line, line])
    with pytest.raises(InvalidError, match="more than"):
        admit([line] * (LINES_MAX + 1))


# ----------------------------------------------------------------------- totals


def test_totals_are_filled_in_and_a_budget_without_a_row_has_taken_nothing() -> None:
    lines = lines_for((AGENT_DAY, COUNTED), FACTS, now=NOW)
    money = next(line for line in lines if line.kind == "amount")
    read = with_totals(lines, {money.key: Total(600, 200, version=7, frozen=True)})
    by_rule = {line.rule_id: line for line in read}
    assert by_rule["agent-day"].posted == 600
    assert by_rule["agent-day"].held == 200
    assert by_rule["agent-day"].version == 7
    assert by_rule["agent-day"].frozen
    assert by_rule["customer-count"].version == 0


def test_only_totals_that_decide_make_a_reservation_stale() -> None:
    lines = lines_for((AGENT_DAY, COUNTED), FACTS, now=NOW)
    read = with_totals(lines, {}, looked_at={"agent-day"})
    versions = {line.rule_id: line.version for line in read}
    assert versions == {"agent-day": 0, "customer-count": None}


def test_a_policy_may_watch_budgets_that_the_action_takes_nothing_from() -> None:
    refunds = replace(AGENT_DAY, tools=frozenset({"orders.refund"}))
    cancel = replace(FACTS, tool="orders.cancel", amount=None)
    assert lines_for((refunds,), cancel, now=NOW) == ()
    watched = watched_keys((refunds,), cancel, now=NOW)
    (taken,) = lines_for((refunds,), FACTS, now=NOW)
    assert watched == {taken.key: "agent-day"}
    totals = {taken.key: Total(posted=250, held=50)}
    assert totals_by_rule((refunds, COUNTED), watched, totals) == {
        "agent-day": 300,
        "customer-count": 0,
    }


def test_of_several_objects_the_policy_sees_the_fullest() -> None:
    second = replace(ORDER, ref="ref-of-another")
    facts = replace(FACTS, objects=(ORDER, second))
    watched = watched_keys((PAID,), facts, now=NOW)
    totals = {
        key: Total(posted=100 * place) for place, key in enumerate(sorted(watched))
    }
    assert totals_by_rule((PAID,), watched, totals) == {"paid": 100}


# ------------------------------------------------------------------ reservations


def test_a_reservation_moves_only_forward_and_every_path_ends() -> None:
    ends = {state for state in ReservationState if not RESERVATION_MOVES[state]}
    assert ends == {ReservationState.POSTED, ReservationState.VOIDED}
    reached, waiting = set(), [ReservationState.HELD]
    for _ in range(len(ReservationState) * 4):
        waiting = [new for old in waiting for new in RESERVATION_MOVES[old]]
        reached.update(waiting)
    assert waiting == []
    assert reached == set(ReservationState) - {ReservationState.HELD}


def test_money_is_never_posted_without_the_fence_of_executing() -> None:
    assert not may_move(ReservationState.HELD, ReservationState.POSTED)
    assert not may_move(ReservationState.HELD, ReservationState.UNKNOWN)
    assert may_move(ReservationState.HELD, ReservationState.EXECUTING)
