"""What a history takes of budgets: counted in every window, written down in few.

It is counted as the database counts it, so that a simulated day is a day. But only
fixed windows that are over when the history is loaded are written down: what has a
limit today, be it this month or for ever, is not taken by what never was.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from broker.core import limit
from broker.core.words.budget import (
    COUNT_UNIT,
    CUSTOMERS_UNIT,
    BudgetKey,
    Line,
    Total,
    Window,
)

_FIXED: Final = frozenset({Window.HOUR, Window.DAY, Window.MONTH})


def is_over(window: Window, since: datetime, *, loaded_at: datetime) -> bool:
    """Return whether a window is a fixed one that ended before ``loaded_at``."""
    return window in _FIXED and since < limit.window_start(window, loaded_at)


@dataclass(slots=True)
class Taken:
    """What one action takes of one budget."""

    line: Line
    amount: int
    state: str = "held"
    posted: int | None = None


class Money:
    """Every budget of a history; ``taken`` is what each action took."""

    def __init__(self, loaded_at: datetime) -> None:
        """Begin with nothing."""
        self.loaded_at = loaded_at
        self.taken: dict[str, list[Taken]] = {}
        self._read: dict[BudgetKey, Line] = {}
        self._totals: dict[BudgetKey, Total] = {}
        self._members: dict[BudgetKey, set[str]] = {}

    def totals(
        self, keys: Sequence[BudgetKey], *, besides: str, member: str
    ) -> Mapping[BudgetKey, Total]:
        """Return what these budgets have taken so far, one action left out."""
        own: dict[BudgetKey, int] = {}
        for one in self.taken.get(besides, ()):
            if one.state == "held":
                own[one.line.key] = own.get(one.line.key, 0) + one.amount
        found = {}
        for key in keys:
            total = self._totals.get(key, Total())
            known = member in self._members.get(key, ())
            held = total.held - own.get(key, 0)
            found[key] = replace(total, held=held, known=known)
        return found

    def hold(self, action_id: str, lines: Sequence[Line]) -> None:
        """Hold what an action may spend."""
        if lines:
            self.taken[action_id] = [Taken(line, line.amount) for line in lines]
        for line in lines:
            self._add(line, held=line.amount)

    def end(self, action_id: str, state: str, posted: int | None) -> None:
        """Post or void what an action holds."""
        for one in self.taken.get(action_id, ()):
            if one.state != "held":
                continue
            moved = one.amount
            if posted is not None and one.line.unit != COUNT_UNIT:
                moved = posted
            one.state, one.posted = state, moved
            self._add(one.line, held=-one.amount)
            if state == "posted" and one.line.window is not Window.PENDING:
                self._add(one.line, posted=moved)

    def count_reads(self, lines: Sequence[Line], customer_ref: str) -> None:
        """Count what was read; a customer counts once."""
        for line in lines:
            members = self._members.setdefault(line.key, set())
            if line.unit != CUSTOMERS_UNIT or customer_ref not in members:
                self._add(line, posted=line.amount)
                self._read[line.key] = line
            members.add(customer_ref)

    def budgets(self) -> list[tuple[Line, Total]]:
        """Return every budget whose window is over, with what it has taken."""
        lines = {one.line.key: one.line for all_ in self.taken.values() for one in all_}
        lines |= self._read
        return [
            (line, self._totals[key])
            for key, line in sorted(lines.items())
            if is_over(line.window, line.window_start, loaded_at=self.loaded_at)
        ]

    def members(self, key: BudgetKey) -> list[str]:
        """Return the customers that a budget has counted."""
        return sorted(self._members.get(key, ()))

    def _add(self, line: Line, *, held: int = 0, posted: int = 0) -> None:
        was = self._totals.get(line.key, Total())
        self._totals[line.key] = Total(was.posted + posted, was.held + held)
