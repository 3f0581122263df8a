"""Budgets and reservations in PostgreSQL: one SQL function, one round trip each.

The store reserves inside its own transactions (infra/migrations/sql/actions.sql calls
the same functions); this adapter is for everything that moves or shows a reservation
by itself.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import asyncpg

from broker.core.words.budget import (
    Admission,
    BudgetRow,
    Move,
    ReservationRow,
    ReservationState,
    Total,
    Window,
)
from broker.core.words.errors import StoreUnavailableError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from broker.core.words.budget import BudgetKey, Line
    from broker.core.words.money import Money
    from broker.effects.database import Database

ROWS_SHOWN_MAX = 500
OTHER_CLOCK = "CF101"

_BUDGETS = """
SELECT budget_id, window_start, rule_id, span, unit, scope,
       budget_posted(budget_id, span, posted, coalesce($5, clock_timestamp()))
         AS posted,
       held, version, frozen, freezes, limit_seen, simulated
  FROM budget
 WHERE ($1::text IS NULL OR starts_with(budget_id, $1))
   AND ($3::text IS NULL OR rule_id = $3)
   AND (frozen OR NOT $4)
 ORDER BY window_start DESC, rule_id, budget_id
 LIMIT $2
"""
_RESERVATIONS = """
SELECT action_id, budget_id, window_start, amount, posted, state, updated_at,
       simulated
  FROM reservation
 WHERE ($1::text IS NULL OR starts_with(budget_id, $1))
   AND ($2::uuid IS NULL OR action_id = $2)
   AND ($3::text[] IS NULL OR state = ANY ($3))
 ORDER BY updated_at DESC, action_id, budget_id
 LIMIT $4
"""


class PostgresBudgets:
    """The Budgets port over the functions of infra/migrations/sql/budgets.sql.

    Every method raises ``StoreUnavailableError`` if PostgreSQL does not answer. What a
    call that was cut off has done is not known; all of them may be repeated.
    """

    def __init__(self, database: Database) -> None:
        """Keep the pool."""
        self._database = database

    async def totals(
        self,
        keys: Sequence[BudgetKey],
        *,
        besides: str | None = None,
        member: str = "",
        at: datetime | None = None,
    ) -> Mapping[BudgetKey, Total]:
        """Return what budgets have posted and hold; one without a row is left out."""
        return await totals_of(
            self._database, keys, besides=besides, member=member, at=at
        )

    async def reserve(
        self, action_id: str, lines: Sequence[Line], *, at: datetime | None = None
    ) -> Admission:
        """Take all lines or none, and say which had no room.

        ``at`` is the database's now, unless a test says otherwise.
        """
        documents = [line_document(line) for line in lines]
        said = await self._database.value(
            "SELECT reserve($1, $2, $3)", action_id, documents, at
        )
        return _admission(said, lines)

    async def execute(self, action_id: str) -> Move:
        """Pass the fence before anything is sent."""
        return await self._move("SELECT reservation_execute($1)", action_id)

    async def post(
        self, action_id: str, *, actual: Money | None, at: datetime | None = None
    ) -> Move:
        """Post what the receipt says, or what was reserved if it says nothing."""
        return await self._move(
            "SELECT reservation_post($1, $2, $3, $4)",
            action_id,
            actual.minor_units if actual else None,
            actual.currency if actual else None,
            at,
        )

    async def void(self, action_id: str, *, only_held: bool = False) -> Move:
        """Give back what surely was not spent."""
        return await self._move("SELECT reservation_void($1, $2)", action_id, only_held)

    async def unknown(self, action_id: str) -> Move:
        """Keep it held until somebody knows what happened."""
        return await self._move("SELECT reservation_unknown($1)", action_id)

    async def budgets(
        self,
        *,
        budget_id: str | None = None,
        rule_id: str | None = None,
        frozen: bool = False,
        at: datetime | None = None,
        rows_max: int = ROWS_SHOWN_MAX,
    ) -> Sequence[BudgetRow]:
        """Return budgets, newest windows first; each filter narrows.

        ``budget_id`` may be its first characters.
        """
        most = min(rows_max, ROWS_SHOWN_MAX)
        rows = await self._database.rows(_BUDGETS, budget_id, most, rule_id, frozen, at)
        return [budget_row(row) for row in rows]

    async def reservations(
        self,
        *,
        budget_id: str | None = None,
        action_id: str | None = None,
        states: Sequence[ReservationState] | None = None,
        rows_max: int = ROWS_SHOWN_MAX,
    ) -> Sequence[ReservationRow]:
        """Return reservations, last moved first; each filter narrows."""
        rows = await self._database.rows(
            _RESERVATIONS,
            budget_id,
            action_id,
            None if states is None else [state.value for state in states],
            min(rows_max, ROWS_SHOWN_MAX),
        )
        return [
            ReservationRow(
                action_id=str(row["action_id"]),
                budget_id=row["budget_id"],
                window_start=row["window_start"],
                amount=row["amount"],
                posted=row["posted"],
                state=ReservationState(row["state"]),
                updated_at=row["updated_at"],
                simulated=row["simulated"],
            )
            for row in rows
        ]

    async def _move(self, sql: str, *args: object) -> Move:
        said = await self._database.value(sql, *args)
        return Move(
            made=said["made"],
            state=_state(said["state"]),
            alarms=tuple(said["alarms"]),
            frozen=tuple(said["frozen"]),
        )


async def current(database: Database, sql: str, *args: Any) -> dict[str, Any]:  # noqa: ANN401
    """Call a function that takes lines, and return its answer.

    Raises:
        StoreUnavailableError: PostgreSQL does not answer, or its clock is another than
            the one that the lines were made by: nothing was done.
    """
    try:
        answer: dict[str, Any] = await database.value(sql, *args)
    except asyncpg.PostgresError as error:
        if error.sqlstate != OTHER_CLOCK:
            raise
        msg = "this replica's clock is not the database's, so no window is sure"
        hint = "set the clocks; nothing was done"
        raise StoreUnavailableError(msg, hint=hint) from error
    return answer


def over_rules(lines: Sequence[Line], answer: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the rules whose lines had no room, as an answer names their budgets."""
    over = {one["budget_id"] for one in answer.get("over") or []}
    return tuple(line.rule_id for line in lines if line.budget_id in over)


async def totals_of(
    database: Database,
    keys: Sequence[BudgetKey],
    *,
    besides: str | None = None,
    member: str = "",
    at: datetime | None = None,
) -> Mapping[BudgetKey, Total]:
    """Return what budgets have posted and hold; one without a row is left out.

    Args:
        database: Where they are.
        keys: The budgets.
        besides: Action whose own share does not count.
        member: Customer of whom is asked whether they were counted.
        at: Now, if it is not the database's.
    """
    if not keys:
        return {}
    rows = await database.rows(
        "SELECT * FROM budget_totals($1, $2, $3, $4, $5)",
        [budget_id for budget_id, _ in keys],
        [start for _, start in keys],
        besides,
        member,
        at,
    )
    return {
        (row["budget_id"], row["window_start"]): Total(
            posted=row["posted"],
            held=row["held"],
            version=row["version"],
            frozen=row["frozen"],
            known=row["known"],
            freezes=row["freezes"],
        )
        for row in rows
    }


def line_document(line: Line) -> dict[str, Any]:
    """Return a line as the SQL function ``reserve`` takes it."""
    start: datetime = line.window_start
    return {
        "budget_id": line.budget_id,
        "window_start": start.isoformat(),
        "rule_id": line.rule_id,
        "window": line.window.value,
        "unit": line.unit,
        "scope": dict(line.scope),
        "limit": line.limit,
        "amount": line.amount,
        "per_action": line.per_action,
        "version": line.version,
        "frozen": line.frozen,
        "member": line.member,
    }


def _admission(said: Mapping[str, Any], lines: Sequence[Line]) -> Admission:
    by_id = {line.budget_id: line for line in lines}
    return Admission(
        over=tuple(
            replace(
                by_id[full["budget_id"]],
                posted=full["posted"],
                held=full["held"],
                frozen=full["frozen"],
            )
            for full in said["over"]
        ),
        stale=tuple(by_id[budget_id] for budget_id in said["stale"]),
        state=_state(said["state"]),
    )


def _state(word: str | None) -> ReservationState | None:
    return None if word is None else ReservationState(word)


def budget_row(row: asyncpg.Record) -> BudgetRow:
    """Return a budget as it is shown to people."""
    return BudgetRow(
        budget_id=row["budget_id"],
        window_start=row["window_start"],
        rule_id=row["rule_id"],
        window=Window(row["span"]),
        unit=row["unit"],
        scope=tuple(sorted(row["scope"].items())),
        total=Total(
            row["posted"],
            row["held"],
            row["version"],
            frozen=row["frozen"],
            freezes=row["freezes"],
        ),
        limit_seen=row["limit_seen"],
        simulated=row["simulated"],
    )
