"""Compare budgets with the log: what was decided, executed and posted, entry by entry.

Budgets are rows, and whoever can write to the database could make room in one. The log
says what each action took and what came of it, in signed entries, so both must agree.

Of a budget of customers the log says who was counted: each of them once. Of records it
says how many. What is held has a decision and no outcome; what is unknown stays held.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from broker.core.words.budget import (
    COUNT_UNIT,
    CUSTOMERS_UNIT,
    READING_UNITS,
    Total,
    Window,
)
from broker.core.words.entry import EntryKind

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from broker.core.words.budget import BudgetRow

_TAKES: Final = frozenset(
    {
        EntryKind.DECISION.value,
        EntryKind.ASKED.value,
        EntryKind.CARRIED.value,
        EntryKind.CLAIM.value,
    }
)
RELEASE: Final = "budget.release"
"""What the entry of a released budget says was done."""

_ENDS: Final = frozenset({EntryKind.OUTCOME.value, EntryKind.RESOLVED.value})

Place = tuple[str, str]
"""Budget id, and the start of its window as it is written."""


@dataclass(slots=True)
class Expected:
    """What a budget must have by the log."""

    rule_id: str
    unit: str
    window: str
    posted: int = 0
    held: int = 0
    customers: set[str] = field(default_factory=set)
    frozen: bool = False


@dataclass(frozen=True, slots=True)
class Difference:
    """A budget whose row and log do not agree; ``row`` is None if there is no row."""

    budget_id: str
    since: str
    rule_id: str
    unit: str
    log_posted: int
    log_held: int
    row_posted: int | None
    row_held: int | None
    log_frozen: bool = False
    row_frozen: bool | None = False

    def document(self) -> dict[str, Any]:
        """Return it as JSON; amounts in minor units."""
        return {
            "budget_id": self.budget_id,
            "window_start": self.since,
            "rule": self.rule_id,
            "unit": self.unit,
            "posted": {"log": self.log_posted, "budget": self.row_posted},
            "held": {"log": self.log_held, "budget": self.row_held},
            "frozen": {"log": self.log_frozen, "budget": self.row_frozen},
        }


class Account:
    """What the log says of budgets, up to the last entry that was read."""

    def __init__(self) -> None:
        """Begin with an empty log."""
        self.entries = 0
        self._budgets: dict[Place, Expected] = {}
        self._open: dict[str, list[Mapping[str, Any]]] = {}
        self._customers = 0

    @property
    def kept(self) -> int:
        """Return how much is kept: budgets, customers of them, and open actions."""
        return len(self._budgets) + self._customers + len(self._open)

    def read(self, entries: Iterable[Mapping[str, Any]]) -> None:
        """Read entries, in the log's order."""
        for entry in entries:
            self.entries += 1
            if entry["detail"].get("what") == RELEASE:
                self._release(entry)
            action = entry["action"].get("action_id")
            if action is None:
                continue
            taken = entry["detail"].get("reserved") or []
            self._count_reads(entry, taken)
            if entry["kind"] in _TAKES and taken:
                self._open[action] = [
                    line for line in taken if line["unit"] not in READING_UNITS
                ]
            elif entry["kind"] in _ENDS:
                self._end(action, entry["detail"])

    def expected(self) -> dict[Place, Expected]:
        """Return what each budget must have, with what is still held."""
        found = {
            place: Expected(
                one.rule_id,
                one.unit,
                one.window,
                len(one.customers) if one.unit == CUSTOMERS_UNIT else one.posted,
                frozen=one.frozen,
            )
            for place, one in self._budgets.items()
        }
        for lines in self._open.values():
            for line in lines:
                place = (line["budget"], line["since"])
                one = found.setdefault(place, _fresh(line))
                one.held += line["amount"]
        return found

    def _count_reads(
        self, entry: Mapping[str, Any], taken: Iterable[Mapping[str, Any]]
    ) -> None:
        for line in taken:
            if line["unit"] not in READING_UNITS:
                continue
            one = self._budget(line)
            one.posted += line["amount"]
            if line["unit"] == CUSTOMERS_UNIT:
                before = len(one.customers)
                one.customers.add(entry["context"].get("customer_ref") or "")
                self._customers += len(one.customers) - before

    def _release(self, entry: Mapping[str, Any]) -> None:
        if entry["kind"] == EntryKind.AUTHORITY.value:
            for (budget, _), one in self._budgets.items():
                one.frozen = one.frozen and budget != entry["detail"].get("budget")

    def _end(self, action: str, detail: Mapping[str, Any]) -> None:
        outcome = detail.get("outcome")
        if outcome == "unknown":
            return
        lines = self._open.pop(action, [])
        if outcome != "done":
            return
        for line in lines:
            said = detail.get("posted_minor_units")
            if line["unit"] == COUNT_UNIT or said is None:
                said = line["amount"]
            one = self._budget(line)
            if line["window"] != Window.PENDING:
                one.posted += int(said)
                # More than was reserved: people look, and release it.
                one.frozen = one.frozen or int(said) > line["amount"]

    def _budget(self, line: Mapping[str, Any]) -> Expected:
        place = (line["budget"], line["since"])
        return self._budgets.setdefault(place, _fresh(line))


def differences(
    expected: Mapping[Place, Expected], rows: Mapping[Place, BudgetRow]
) -> tuple[Difference, ...]:
    """Return every budget whose row says something else than the log, in order.

    A row that nobody took anything from may be missing in either; ``rows`` hold all
    that was ever posted, of sliding windows too.
    """
    found = []
    for place in sorted({*expected, *rows}):
        row, log = rows.get(place), expected.get(place)
        wanted = (log.posted, log.held, log.frozen) if log else (0, 0, False)
        total = row.total if row else Total()
        has = (total.posted, total.held, total.frozen)
        if wanted == has:
            continue
        found.append(
            Difference(
                budget_id=place[0],
                since=place[1],
                rule_id=log.rule_id if log else row.rule_id if row else "",
                unit=log.unit if log else row.unit if row else "",
                log_posted=wanted[0],
                log_held=wanted[1],
                row_posted=row.total.posted if row else None,
                row_held=row.total.held if row else None,
                log_frozen=wanted[2],
                row_frozen=row.total.frozen if row else None,
            )
        )
    return tuple(found)


def _fresh(line: Mapping[str, Any]) -> Expected:
    return Expected(line["rule"], line["unit"], line["window"])
