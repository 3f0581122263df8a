"""What `counterfoil budgets` shows."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from io import StringIO

from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from broker.cli.budgets import (
    budget_document,
    budgets_table,
    left,
    quantity,
    reservation_document,
    reservations_table,
)
from broker.core.words.budget import (
    COUNT_UNIT,
    BudgetRow,
    ReservationRow,
    ReservationState,
    Total,
    Window,
)
from broker.core.words.money import AMOUNT_MINOR_UNITS_MAX

START = datetime(2026, 11, 23, tzinfo=UTC)
BUDGET = BudgetRow(
    budget_id="ab" * 32,
    window_start=START,
    rule_id="agent-day",
    window=Window.DAY,
    unit="USD",
    scope=(("agent", "agent-1"),),
    total=Total(posted=1_050, held=200, version=3),
    limit_seen=10_000,
)
RESERVATION = ReservationRow(
    action_id="0193f7a0-0000-7000-8000-000000000001",
    budget_id=BUDGET.budget_id,
    window_start=START,
    amount=200,
    posted=None,
    state=ReservationState.HELD,
    updated_at=START,
)


def shown(table) -> str:
    out = StringIO()
    Console(file=out, width=160, highlight=False).print(table)
    return out.getvalue()


def test_a_budget_shows_what_is_posted_held_and_left_with_its_currency() -> None:
    text = shown(budgets_table([BUDGET]))
    for part in ("agent-day", "agent agent-1", "10.50 USD", "2.00 USD", "87.50 USD"):
        assert part in text
    assert "frozen" not in text


def test_a_frozen_budget_says_so_and_has_nothing_left() -> None:
    frozen = replace(BUDGET, total=replace(BUDGET.total, frozen=True))
    assert "frozen" in shown(budgets_table([frozen]))
    assert left(frozen) == 0


@given(
    posted=st.integers(0, 10**6), held=st.integers(0, 10**6), most=st.integers(0, 10**6)
)
def test_what_is_left_is_exactly_what_would_be_admitted(posted, held, most) -> None:
    row = replace(BUDGET, total=Total(posted, held), limit_seen=most)
    assert left(row) == max(0, most - posted - held)


def test_counts_have_no_currency_and_huge_sums_are_shown_whole() -> None:
    assert quantity(3, COUNT_UNIT) == "3"
    assert quantity(AMOUNT_MINOR_UNITS_MAX, "USD").endswith(" USD")
    beyond = AMOUNT_MINOR_UNITS_MAX + 1
    assert quantity(beyond, "USD") == f"{beyond} minor units USD"


def test_a_reservation_shows_its_state_and_what_it_holds() -> None:
    units = {BUDGET.budget_id: "USD"}
    text = shown(reservations_table([RESERVATION], units=units))
    for part in (RESERVATION.action_id, "held", "2.00 USD"):
        assert part in text
    posted = replace(RESERVATION, posted=150, state=ReservationState.POSTED)
    assert "1.50 USD" in shown(reservations_table([posted], units=units))


def test_the_json_carries_whole_ids_minor_units_and_times_with_a_zone() -> None:
    budget = json.loads(json.dumps(budget_document(BUDGET)))
    assert budget["budget_id"] == BUDGET.budget_id
    assert (budget["posted"], budget["left"]) == (1_050, 8_750)
    assert budget["window_start"] == "2026-11-23T00:00:00.000000Z"
    reservation = json.loads(json.dumps(reservation_document(RESERVATION)))
    assert (reservation["amount"], reservation["posted"]) == (200, None)
    assert reservation["state"] == "held"


def test_names_that_look_like_markup_are_shown_as_they_are() -> None:
    odd = replace(BUDGET, scope=(("agent", "[red]x[/red]"),))
    assert "[red]x[/red]" in shown(budgets_table([odd]))
