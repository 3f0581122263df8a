"""What `counterfoil budgets` shows, from a door whose books are stood in for."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.api.limits.shown import left
from broker.cli.exits import Exit
from broker.cli.limits.budgets import quantity
from broker.core.words.budget import (
    COUNT_UNIT,
    RECORDS_UNIT,
    BudgetRow,
    ReservationRow,
    ReservationState,
    Total,
    Window,
)
from broker.core.words.money import AMOUNT_MINOR_UNITS_MAX
from broker.watch.books import Difference
from tests.support.door import application

if TYPE_CHECKING:
    from broker.core.words.entry import AuditEntry

START = datetime(2026, 11, 23, tzinfo=UTC)
BUDGET = BudgetRow(
    budget_id="ab" * 32,
    window_start=START,
    rule_id="agent-day",
    window=Window.DAY,
    unit="USD",
    scope=(("agent", "[red]agent-1[/red]"),),
    total=Total(posted=1_050, held=200, version=3),
    limit_seen=10_000,
)
FROZEN = replace(BUDGET, budget_id="cd" * 32, total=Total(1_050, 0, 4, frozen=True))
READ = replace(
    BUDGET,
    budget_id="ef" * 32,
    rule_id="agent-records",
    unit=RECORDS_UNIT,
    window=Window.LAST_DAY,
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
SPENT = Difference(BUDGET.budget_id, "2026", "agent-day", "USD", 500, 0, 0, 0)


@dataclass
class FakeBooks:
    """Three budgets, one reservation, and whatever differs."""

    differ: list[Difference] = field(default_factory=list)
    released: list[AuditEntry] = field(default_factory=list)

    async def budgets(self, *, budget_id, rule_id, frozen):
        return [
            row
            for row in (BUDGET, FROZEN, READ)
            if row.budget_id.startswith(budget_id or "")
            and rule_id in {None, row.rule_id}
            and (row.total.frozen or not frozen)
        ]

    async def reservations(self, *, budget_id, action_id, states):
        del action_id
        fits = budget_id in {None, BUDGET.budget_id} and states in (
            None,
            [ReservationState.HELD],
        )
        return [RESERVATION] if fits else []

    async def release(self, budget_id, entry):
        self.released.append(entry)
        return int(budget_id == FROZEN.budget_id)

    async def compare(self):
        return 7, self.differ


@pytest.fixture
def books(desk):
    stand_in = FakeBooks()
    application().state.books = stand_in
    return stand_in


@pytest.mark.usefixtures("books")
def test_budgets_show_what_is_posted_held_and_left_and_which_are_frozen(desk):
    text = desk.say("budgets", "list")
    for part in ("10.50 USD", "2.00 USD", "87.50 USD", "frozen", "last day", "8750"):
        assert part in text
    assert "[red]agent-1[/red]" in text
    assert [row["budget_id"] for row in desk.run("budgets", "list")] == [
        row.budget_id for row in (BUDGET, FROZEN, READ)
    ]
    frozen = desk.run("budgets", "list", "--frozen")
    assert (frozen["budget_id"], frozen["left"]) == (FROZEN.budget_id, 0)
    assert desk.run("budgets", "list", "--rule", "agent-records")["unit"] == "records"


@pytest.mark.usefixtures("books")
def test_a_budget_is_shown_by_the_beginning_of_its_id_with_its_reservations(desk):
    found = desk.run("budgets", "show", "abab")
    assert found["windows"][0]["window_start"] == "2026-11-23T00:00:00.000000Z"
    assert found["reservations"][0]["amount"] == 200
    assert "2.00 USD" in desk.say("budgets", "show", "abab")
    desk.run("budgets", "show", "0000", code=Exit.NOT_FOUND)


@pytest.mark.usefixtures("books")
def test_reservations_are_narrowed_by_their_state(desk):
    assert desk.run("budgets", "reservations")["state"] == "held"
    assert desk.run("budgets", "reservations", "--in", "held")["posted"] is None
    assert desk.run("budgets", "reservations", "--in", "posted") == []
    desk.run("budgets", "reservations", "--in", "gone", code=Exit.FAILED)
    assert RESERVATION.action_id in desk.say("budgets", "reservations")


def test_a_frozen_budget_is_released_by_a_person_with_a_reason(desk, books):
    why = ("--reason", "the upstream rounded up")
    done = desk.run("budgets", "release", "cdcd", *why)
    assert done == {"budget_id": FROZEN.budget_id, "rule": "agent-day", "windows": 1}
    (entry,) = books.released
    assert entry.detail["what"] == "budget.release"
    assert entry.detail["reason"] == why[1]
    desk.run("budgets", "release", "abab", *why, code=Exit.NOT_FOUND)
    desk.run("budgets", "release", "cdcd", *why, who="alice", code=Exit.DENIED)
    assert len(books.released) == 1


def test_what_differs_from_the_log_is_said_and_ends_the_command_so(desk, books):
    assert desk.run("budgets", "reconcile")["agrees"]
    books.differ.append(SPENT)
    found = desk.run("budgets", "reconcile", code=Exit.FAILED)
    assert found["differences"][0]["posted"] == {"log": 500, "budget": 0}
    text = desk.say("budgets", "reconcile", code=Exit.FAILED)
    assert "posted 0.00 USD, by the log 5.00 USD" in text


@given(
    posted=st.integers(0, 10**6), held=st.integers(0, 10**6), most=st.integers(0, 10**6)
)
def test_what_is_left_is_exactly_what_would_be_admitted(posted, held, most) -> None:
    row = replace(BUDGET, total=Total(posted, held), limit_seen=most)
    assert left(row) == max(0, most - posted - held)


def test_counts_have_no_currency_and_huge_sums_are_shown_whole() -> None:
    assert quantity(3, COUNT_UNIT) == quantity(3, RECORDS_UNIT) == "3"
    assert quantity(AMOUNT_MINOR_UNITS_MAX, "USD").endswith(" USD")
    beyond: Any = AMOUNT_MINOR_UNITS_MAX + 1
    assert quantity(beyond, "USD") == f"{beyond} minor units USD"
