"""Budgets in memory, deciding by core's rule: for tests of whatever needs the port.

The contract suite and the stateful comparison hold this and PostgreSQL together.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime

from broker.core.limit import fits, may_move
from broker.core.limits.window import SLIDING, bucket_since, bucket_start
from broker.core.words.budget import (
    COUNT_UNIT,
    Admission,
    BudgetKey,
    BudgetRow,
    Line,
    Move,
    ReservationRow,
    ReservationState,
    Total,
    Window,
)

OPEN = {ReservationState.HELD, ReservationState.EXECUTING, ReservationState.UNKNOWN}


@dataclass(slots=True)
class Held:
    """One action's reservation: its lines, what each posted, and its state."""

    state: ReservationState
    lines: dict[BudgetKey, Line]
    posted: dict[BudgetKey, int]


class FakeBudgets:
    """The Budgets port, without durability."""

    def __init__(self) -> None:
        self._totals: dict[BudgetKey, Total] = {}
        self._first: dict[BudgetKey, Line] = {}
        self._limits: dict[BudgetKey, int] = {}
        self._held: dict[str, Held] = {}
        self._slid: dict[BudgetKey, list[tuple[datetime, int]]] = {}

    async def totals(self, keys, *, besides=None, member="", at=None):
        mine = self._held.get(besides)
        own = mine.lines if mine is not None and mine.state in OPEN else {}
        return {
            key: replace(
                self._total(key, at),
                held=self._totals[key].held - (own[key].amount if key in own else 0),
            )
            for key in keys
            if key in self._totals
        }

    def _total(self, key, at):
        """Return a total; of a sliding window only what it covers at that time."""
        total, window = self._totals[key], self._first[key].window
        if window not in SLIDING:
            return total
        at = at or datetime.now(UTC)
        since = bucket_since(window, at)
        covered = [
            amount
            for then, amount in self._slid.get(key, [])
            if bucket_start(window, then) >= since
        ]
        return replace(total, posted=sum(covered))

    async def reserve(self, action_id, lines, *, at=None):
        mine = self._held.get(action_id)
        if mine is not None and mine.state is not ReservationState.HELD:
            return Admission(state=mine.state)
        own = mine.lines if mine is not None else {}
        over, stale = [], []
        for line in sorted(lines, key=lambda line: line.key):
            self._first.setdefault(line.key, line)
            self._totals.setdefault(line.key, Total())
            total = self._total(line.key, at)
            before = own[line.key].amount if line.key in own else 0
            now = replace(
                line,
                posted=total.posted,
                held=total.held - before,
                frozen=total.frozen,
            )
            grows = line.amount > before
            if total.frozen or (grows and not fits(now)):
                over.append(now)
            elif grows and line.version not in {None, total.version}:
                stale.append(line)
        state = None if mine is None else mine.state
        if over or stale:
            return Admission(tuple(over), tuple(stale), state)
        self._exchange(action_id, own, {line.key: line for line in lines})
        return Admission(state=ReservationState.HELD if lines else None)

    async def execute(self, action_id):
        mine = self._held.get(action_id)
        if mine is not None and mine.state is ReservationState.HELD:
            frozen = sorted(key[0] for key in mine.lines if self._totals[key].frozen)
            if frozen:
                return Move(made=False, state=mine.state, frozen=tuple(frozen))
        return self._move(action_id, ReservationState.EXECUTING)

    async def unknown(self, action_id):
        return self._move(action_id, ReservationState.UNKNOWN)

    async def void(self, action_id, *, only_held=False):
        mine = self._held.get(action_id)
        was = None if mine is None else mine.state
        if only_held and was in OPEN - {ReservationState.HELD}:
            return Move(made=False, state=was)
        move = self._move(action_id, ReservationState.VOIDED)
        if mine is not None and move.made and was is not ReservationState.VOIDED:
            for key, line in mine.lines.items():
                self._add(key, held=-line.amount)
        return move

    async def post(self, action_id, *, actual, at=None):
        mine = self._held.get(action_id)
        if mine is None:
            return Move(made=False, state=None)
        said = None if actual is None else actual.minor_units
        money = {k: v for k, v in mine.lines.items() if v.unit != COUNT_UNIT}
        if mine.state is ReservationState.POSTED:
            differs = any(said not in {None, mine.posted[key]} for key in money)
            alarms = ("posted_differs",) if differs else ()
            return Move(made=True, state=mine.state, alarms=alarms)
        if mine.state is ReservationState.VOIDED:
            alarms = () if said == 0 else ("posted_after_void",)
            return Move(made=False, state=mine.state, alarms=alarms)
        if not may_move(mine.state, ReservationState.POSTED):
            return Move(made=False, state=mine.state)
        if actual and any(line.unit != actual.currency for line in money.values()):
            mine.state = ReservationState.UNKNOWN
            return Move(made=False, state=mine.state, alarms=("currency_mismatch",))
        return self._post(mine, said, at or datetime.now(UTC))

    async def budgets(self, *, budget_id=None, at=None, rows_max=500):
        rows = [
            BudgetRow(
                budget_id=key[0],
                window_start=key[1],
                rule_id=line.rule_id,
                window=line.window,
                unit=line.unit,
                scope=tuple(sorted(line.scope)),
                total=self._total(key, at),
                limit_seen=self._limits.get(key, 0),
            )
            for key, line in self._first.items()
            if budget_id in {None, key[0]}
        ]
        rows.sort(key=lambda row: (row.rule_id, row.budget_id))
        rows.sort(key=lambda row: row.window_start, reverse=True)
        return rows[:rows_max]

    async def reservations(
        self, *, budget_id=None, action_id=None, states=None, rows_max=500
    ):
        rows = [
            ReservationRow(
                action_id=action,
                budget_id=key[0],
                window_start=key[1],
                amount=line.amount,
                posted=held.posted.get(key),
                state=held.state,
                updated_at=key[1],
            )
            for action, held in self._held.items()
            for key, line in held.lines.items()
            if budget_id in {None, key[0]}
            and action_id in {None, action}
            and (states is None or held.state in states)
        ]
        return rows[:rows_max]

    def _exchange(self, action_id, old, new):
        amounts = {key: line.amount for key, line in new.items()}
        if old and amounts == {key: line.amount for key, line in old.items()}:
            return
        for key, line in old.items():
            self._add(key, held=-line.amount)
        for key, line in new.items():
            self._add(key, held=line.amount)
            self._limits[key] = line.limit
        self._held.pop(action_id, None)
        if new:
            self._held[action_id] = Held(ReservationState.HELD, new, {})

    def _post(self, mine, said, at):
        above = []
        for key, line in mine.lines.items():
            counted = line.unit == COUNT_UNIT or said is None
            actual = line.amount if counted else said
            mine.posted[key] = actual
            self._slid.setdefault(key, []).append((at, actual))
            lasting = line.window is not Window.PENDING
            self._add(
                key,
                held=-line.amount,
                posted=actual if lasting else 0,
                frozen=actual > line.amount and lasting,
            )
            above += [key] if actual > line.amount else []
        mine.state = ReservationState.POSTED
        frozen = sorted(key[0] for key in above if self._totals[key].frozen)
        return Move(
            made=True,
            state=mine.state,
            alarms=("posted_above_reserved",) if above else (),
            frozen=tuple(frozen),
        )

    def _move(self, action_id, new):
        mine = self._held.get(action_id)
        if mine is None:
            return Move(made=False, state=None)
        if mine.state is not new and not may_move(mine.state, new):
            return Move(made=False, state=mine.state)
        mine.state = new
        return Move(made=True, state=new)

    def _add(self, key, *, held, posted=0, frozen=False):
        total = self._totals[key]
        self._totals[key] = Total(
            posted=total.posted + posted,
            held=total.held + held,
            version=total.version + 1,
            frozen=total.frozen or frozen,
            freezes=total.freezes + frozen,
        )
