"""Show budgets and reservations to people, and as JSON to programs."""

from collections.abc import Iterable
from typing import Any

from rich.table import Table
from rich.text import Text

from broker.core.words.budget import (
    COUNT_UNIT,
    BudgetRow,
    ReservationRow,
    Window,
)
from broker.core.words.moment import write_moment
from broker.core.words.money import AMOUNT_MINOR_UNITS_MAX, Money, is_currency

ID_CHARS_SHOWN = 12
"""Enough to tell budgets apart and to copy; the whole id stands in the JSON."""


def budgets_table(rows: Iterable[BudgetRow]) -> Table:
    """Return a table of budgets: what is posted and held, and what is left."""
    table = _table("budget", "rule", "scope", "since")
    for name in ("posted", "held", "limit", "left"):
        table.add_column(name, justify="right")
    table.add_column("")
    for row in rows:
        table.add_row(
            Text(row.budget_id[:ID_CHARS_SHOWN]),
            Text(row.rule_id),
            Text(", ".join(f"{name} {value}" for name, value in row.scope)),
            Text(_since(row)),
            *(
                Text(quantity(number, row.unit))
                for number in (
                    row.total.posted,
                    row.total.held,
                    row.limit_seen,
                    left(row),
                )
            ),
            Text("frozen" if row.total.frozen else "", style="bold red"),
        )
    return table


def reservations_table(
    rows: Iterable[ReservationRow], *, units: dict[str, str]
) -> Table:
    """Return a table of reservations.

    Args:
        rows: The reservations.
        units: From budget id to its unit.
    """
    table = _table("action", "budget", "state", "since")
    for name in ("reserved", "posted"):
        table.add_column(name, justify="right")
    for row in rows:
        unit = units.get(row.budget_id, COUNT_UNIT)
        posted = "" if row.posted is None else quantity(row.posted, unit)
        table.add_row(
            Text(row.action_id),
            Text(row.budget_id[:ID_CHARS_SHOWN]),
            Text(row.state.value),
            Text(write_moment(row.updated_at)),
            Text(quantity(row.amount, unit)),
            Text(posted),
        )
    return table


def budget_document(row: BudgetRow) -> dict[str, Any]:
    """Return a budget as JSON; amounts in minor units."""
    return {
        "budget_id": row.budget_id,
        "rule": row.rule_id,
        "scope": dict(row.scope),
        "window": row.window.value,
        "window_start": write_moment(row.window_start),
        "unit": row.unit,
        "posted": row.total.posted,
        "held": row.total.held,
        "limit": row.limit_seen,
        "left": left(row),
        "frozen": row.total.frozen,
    }


def reservation_document(row: ReservationRow) -> dict[str, Any]:
    """Return a reservation as JSON; amounts in minor units."""
    return {
        "action_id": row.action_id,
        "budget_id": row.budget_id,
        "window_start": write_moment(row.window_start),
        "amount": row.amount,
        "posted": row.posted,
        "state": row.state.value,
        "updated_at": write_moment(row.updated_at),
    }


def left(row: BudgetRow) -> int:
    """Return what a budget still admits: nothing if it is frozen or overdrawn."""
    if row.total.frozen:
        return 0
    return max(0, row.limit_seen - row.total.posted - row.total.held)


def quantity(number: int, unit: str) -> str:
    """Return an amount with its currency, or a bare count."""
    if not is_currency(unit):
        return str(number)
    if number > AMOUNT_MINOR_UNITS_MAX:
        # A sum may outgrow what one amount may be.
        return f"{number} minor units {unit}"
    return str(Money(number, unit))


def _since(row: BudgetRow) -> str:
    if row.window not in {Window.HOUR, Window.DAY, Window.MONTH}:
        return row.window.value.replace("_", " ")
    return write_moment(row.window_start)


def _table(*names: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in names:
        table.add_column(name, overflow="fold")
    return table
