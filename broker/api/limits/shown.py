"""Budgets and reservations as JSON, for those who may look at them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from broker.core.words.moment import write_moment

if TYPE_CHECKING:
    from broker.core.words.budget import BudgetRow, ReservationRow


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
        "simulated": row.simulated,
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
        "simulated": row.simulated,
    }


def left(row: BudgetRow) -> int:
    """Return what a budget still admits: nothing if it is frozen or overdrawn."""
    if row.total.frozen:
        return 0
    return max(0, row.limit_seen - row.total.posted - row.total.held)
