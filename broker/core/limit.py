"""Stage 3, limit: how often, how much at once, and how much in all.

Rates are counted by GCRA and may be lost; amounts and counts are reserved in SQL and
may not. This module states both rules; a Valkey Function and SQL functions execute
them atomically, and tests compare all of them on the same random sequences.

Source: DESIGN, invariant 4 and chapter 5; docs/adr/0009.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from broker.core.limits.window import bucket_since, bucket_start, window_start
from broker.core.lines import (
    LINES_MAX,
    PROCESS_SHARE,
    RATE_KEYS_MAX,
    UNCOVERED,
    check_set,
    lines_for,
    rate_answer,
    rate_keys,
    record_lines,
    smaller,
    watched_keys,
)
from broker.core.words.budget import (
    Admission,
    ReservationState,
    Total,
)
from broker.core.words.decision import Reason
from broker.core.words.money import Money

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from collections.abc import Set as AbstractSet

    from broker.core.words.budget import (
        BudgetKey,
        BudgetRule,
        Line,
    )

__all__ = [
    "LINES_MAX",
    "PROCESS_SHARE",
    "RATE_KEYS_MAX",
    "RESERVATION_MOVES",
    "UNCOVERED",
    "BudgetExceededError",
    "admit",
    "bucket_since",
    "bucket_start",
    "fits",
    "headroom",
    "lines_for",
    "may_move",
    "rate_answer",
    "rate_keys",
    "record_lines",
    "smaller",
    "totals_by_rule",
    "watched_keys",
    "window_start",
    "with_totals",
]


# A reservation only moves forward. SQL executes the same table, and a test compares.
RESERVATION_MOVES: Mapping[ReservationState, frozenset[ReservationState]] = {
    ReservationState.HELD: frozenset(
        {ReservationState.EXECUTING, ReservationState.VOIDED}
    ),
    ReservationState.EXECUTING: frozenset(
        {
            ReservationState.POSTED,
            ReservationState.VOIDED,
            ReservationState.UNKNOWN,
        }
    ),
    ReservationState.UNKNOWN: frozenset(
        {ReservationState.POSTED, ReservationState.VOIDED}
    ),
    ReservationState.POSTED: frozenset(),
    ReservationState.VOIDED: frozenset(),
}


class BudgetExceededError(ValueError):
    """More is posted and pending than a budget's limit."""


def may_move(old: ReservationState, new: ReservationState) -> bool:
    """Return whether a reservation may go from one state to another."""
    return new in RESERVATION_MOVES[old]


# ----------------------------------------------------------------------- budgets


def totals_by_rule(
    rules: Sequence[BudgetRule],
    watched: Mapping[BudgetKey, str],
    totals: Mapping[BudgetKey, Total],
) -> dict[str, int]:
    """Return what is posted or held for each rule, 0 where nothing is counted.

    A rule with several budgets (one per object) gives the largest.
    """
    sums = dict.fromkeys((rule.rule_id for rule in rules), 0)
    for key, rule_id in watched.items():
        total = totals.get(key, Total())
        sums[rule_id] = max(sums[rule_id], total.posted + total.held)
    return sums


def with_totals(
    lines: Sequence[Line],
    totals: Mapping[BudgetKey, Total],
    *,
    looked_at: AbstractSet[str] | None = None,
) -> tuple[Line, ...]:
    """Fill in what was read; a budget without a row has taken nothing, version 0.

    Args:
        lines: What the action would take.
        totals: What was read, this action left out.
        looked_at: Rules whose totals the decision depends on; None is all of them. A
            reservation is refused as stale if one of these has moved meanwhile, so a
            busy budget that no policy looks at should not be among them.
    """
    filled = []
    for line in lines:
        total = totals.get(line.key, Total())
        depends = looked_at is None or line.rule_id in looked_at
        filled.append(
            replace(
                line,
                posted=total.posted,
                held=total.held,
                version=total.version if depends else None,
                frozen=total.frozen,
                known=bool(line.member) and total.known,
            )
        )
    return tuple(filled)


def fits(line: Line) -> bool:
    """Return whether one line has room: ``posted + held + amount <= limit``.

    Nothing is taken for a customer who is counted already, and no action may take more
    than its rule lets one action take.
    """
    if line.frozen or (line.per_action is not None and line.amount > line.per_action):
        return False
    return line.known or line.posted + line.held + line.amount <= line.limit


def admit(lines: Sequence[Line]) -> Admission:
    """Admit an action if every line fits; otherwise name the lines that do not.

    Raises:
        InvalidError: more than LINES_MAX lines.
        ValueError: two lines take from one budget.
    """
    check_set("lines", [line.budget_id for line in lines], most=LINES_MAX)
    over = tuple(line for line in lines if not fits(line))
    held = lines and not over
    return Admission(over=over, state=ReservationState.HELD if held else None)


def over_budget(rules: Sequence[str]) -> Reason:
    """Return why an action is refused: these rules, at least one, have no room."""
    return Reason("over_budget", f"no room in {', '.join(rules)}", rule=rules[0])


def headroom(limit: Money, *, posted: Money, pending: Sequence[Money]) -> Money:
    """Return what a budget still admits: pending amounts count in full.

    Raises:
        BudgetExceededError: it is overdrawn already.
        ValueError: the amounts are of different currencies.
    """
    if {limit.currency} != {money.currency for money in (limit, posted, *pending)}:
        msg = "a budget counts one currency"
        raise ValueError(msg)
    taken = posted.minor_units + sum(money.minor_units for money in pending)
    if taken > limit.minor_units:
        msg = f"overdrawn: {taken} of {limit.minor_units} {limit.currency} minor units"
        raise BudgetExceededError(msg)
    return Money(limit.minor_units - taken, limit.currency)
