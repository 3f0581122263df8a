"""The same random life for core's rule (the fake) and for PostgreSQL, step by step."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any, ClassVar

import asyncpg
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    rule,
    run_state_machine_as_test,
)

from broker.core.words.budget import COUNT_UNIT, ReservationState, Window
from broker.core.words.money import Money
from broker.effects.limits.budgets import PostgresBudgets
from tests.support.limits.budgets import FakeBudgets
from tests.support.limits.lines import TODAY, action, broker_database, line
from tests.support.servers import Database

KINDS: dict[str, dict[str, Any]] = {
    "money-a": {},
    "money-b": {},
    "count": {"unit": COUNT_UNIT, "limit": 4},
    "pending": {"window": Window.PENDING},
    "capped": {"per_action": 30},
    "sliding": {"window": Window.LAST_DAY},
    "sliding-count": {"window": Window.LAST_HOUR, "unit": COUNT_UNIT, "limit": 4},
    "pending-count": {"window": Window.PENDING, "unit": COUNT_UNIT, "limit": 3},
}

actions = st.integers(0, 7).map(action)
amounts = st.integers(1, 60)
days = st.integers(0, 1)
# In any order: the clock of whoever asks may jump, forward and back.
moments = st.integers(0, 40 * 12).map(lambda n: TODAY + n * timedelta(minutes=5))
limits = st.sampled_from([0, 40, 100, 100, 100])
names = st.lists(st.sampled_from(sorted(KINDS)), min_size=1, unique=True)
asks = st.fixed_dictionaries({"names": names, "amount": amounts, "day": days})
OPEN = [
    ReservationState.HELD,
    ReservationState.EXECUTING,
    ReservationState.UNKNOWN,
]


def lines_of(names, *, amount, day, limit):
    found = []
    for name in names:
        kind = {"limit": limit} | KINDS[name]
        counted = kind.get("unit") == COUNT_UNIT
        lasting = "window" not in kind
        found.append(
            line(
                name,
                **kind,
                amount=1 if counted else amount,
                window_start=TODAY + timedelta(days=day if lasting else 0),
            )
        )
    return found


class BudgetLife(RuleBasedStateMachine):
    """Two worlds: every answer, total and reservation is the same in both."""

    pg_database: ClassVar[Database]

    def __init__(self):
        super().__init__()
        self.runner = asyncio.Runner()
        self.fake = FakeBudgets()
        self.runner.run(self._connect())

    async def _connect(self):
        owner = await asyncpg.connect(self.pg_database.dsn())
        await owner.execute("TRUNCATE budget, reservation, budget_bucket")
        await owner.close()
        self.context = broker_database(self.pg_database, pool_max=1)
        self.real = PostgresBudgets(await self.context.__aenter__())

    def teardown(self):
        self.runner.run(self.context.__aexit__(None, None, None))
        self.runner.close()

    def both(self, method, *args, **kwargs):
        real = self.runner.run(getattr(self.real, method)(*args, **kwargs))
        fake = self.runner.run(getattr(self.fake, method)(*args, **kwargs))
        assert real == fake
        return real

    @rule(mine=actions, asked=asks, limit=limits, at=moments)
    def reserve(self, mine, asked, limit, at):
        lines = lines_of(**asked, limit=limit)
        self.both("reserve", mine, lines, at=at)

    @rule(
        mine=actions,
        asked=asks,
        behind=st.sampled_from([0, 0, 0, 1]),
        at=moments,
    )
    def reserve_after_a_look(self, mine, asked, behind, at):
        lines = lines_of(**asked, limit=100)
        totals = self.both("totals", [one.key for one in lines], besides=mine, at=at)
        looked = [
            replace(
                one,
                version=totals[one.key].version - behind if one.key in totals else 0,
            )
            for one in lines
        ]
        self.both("reserve", mine, looked, at=at)

    @rule(mine=actions)
    def execute(self, mine):
        self.both("execute", mine)

    @rule(mine=actions, only_held=st.booleans())
    def void(self, mine, only_held):
        self.both("void", mine, only_held=only_held)

    @rule(mine=actions)
    def unknown(self, mine):
        self.both("unknown", mine)

    @rule(
        mine=actions,
        actual=st.none() | st.integers(0, 70),
        currency=st.sampled_from(["USD"] * 9 + ["EUR"]),
        at=moments,
    )
    def post(self, mine, actual, currency, at):
        money = None if actual is None else Money(actual, currency)
        self.both("post", mine, actual=money, at=at)

    @invariant()
    def held_is_the_sum_of_open_reservations(self):
        held: dict = {}
        for row in self.runner.run(self.real.reservations(states=OPEN)):
            key = (row.budget_id, row.window_start)
            held[key] = held.get(key, 0) + row.amount
        at = TODAY + timedelta(hours=20)
        real = self.runner.run(self.real.budgets(at=at))
        assert real == self.runner.run(self.fake.budgets(at=at))
        for budget in real:
            key = (budget.budget_id, budget.window_start)
            assert budget.total.held == held.get(key, 0)


@pytest.mark.control("6.4")
@pytest.mark.timeout(300)
def test_postgresql_lives_by_the_rule_of_core(pg_database) -> None:
    BudgetLife.pg_database = pg_database
    run_state_machine_as_test(
        BudgetLife,
        settings=settings(
            max_examples=40,
            stateful_step_count=40,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )
