"""Many at once: nothing overspends, nothing deadlocks, everything ends in one state."""

import asyncio
import random
from collections import Counter

import pytest

from broker.core.words.budget import ReservationState, Total, Window
from broker.core.words.money import Money
from broker.effects.limits.budgets import PostgresBudgets, line_document
from tests.support.limits.lines import TOMORROW, action, broker_database, line, total

MANY = 200
RESERVE = "SELECT reserve($1, $2)"


@pytest.fixture
async def budgets(pg_database):
    async with broker_database(pg_database, pool_max=16) as database:
        yield PostgresBudgets(database)


async def settled_sums(budgets) -> Counter:
    """Return what the reservations say that each budget must hold and have posted."""
    sums: Counter = Counter()
    for row in await budgets.reservations():
        if row.state is ReservationState.POSTED:
            sums[row.budget_id, "posted"] += row.posted
        elif row.state is not ReservationState.VOIDED:
            sums[row.budget_id, "held"] += row.amount
    return sums


@pytest.mark.control("6.4")
async def test_two_hundred_at_once_never_overspend_one_budget(budgets) -> None:
    amounts = [random.Random(n).randint(1, 9) for n in range(MANY)]
    answers = await asyncio.gather(
        *(
            budgets.reserve(action(n), [line(amount=amount, limit=500)])
            for n, amount in enumerate(amounts)
        )
    )
    taken = sum(
        amount for amount, said in zip(amounts, answers, strict=True) if said.admitted
    )
    held = (await total(budgets, line())).held
    assert held == taken <= 500
    # Whoever was refused had no room even at the end: nobody was refused for nothing.
    refused = [
        amount
        for amount, said in zip(amounts, answers, strict=True)
        if not said.admitted
    ]
    assert held + max(refused) > 500


async def test_two_hundred_in_random_order_over_many_budgets_do_not_deadlock(
    budgets,
) -> None:
    names = [f"b{n}" for n in range(10)]

    async def one(number):
        chance = random.Random(number)
        picked = chance.sample(names, k=chance.randint(2, 8))
        lines = [line(name, limit=MANY) for name in picked]
        admitted = (await budgets.reserve(action(number), lines)).admitted
        if number % 3 == 0:
            await budgets.void(action(number))
        elif number % 3 == 1:
            await budgets.execute(action(number))
            await budgets.post(action(number), actual=Money(1, "USD"))
        return admitted

    assert all(await asyncio.gather(*(one(number) for number in range(MANY))))
    sums: Counter = Counter()
    for row in await budgets.reservations(rows_max=500):
        sums[row.budget_id] += 1
    assert sum(sums.values()) > MANY
    for name in names:
        now = await total(budgets, line(name))
        found = await budgets.reservations(budget_id=line(name).budget_id)
        states = Counter(row.state for row in found)
        assert now.held == states[ReservationState.HELD]
        assert now.posted == states[ReservationState.POSTED]


async def test_equal_calls_at_once_reserve_once(budgets) -> None:
    answers = await asyncio.gather(
        *(budgets.reserve(action(1), [line(amount=60)]) for _ in range(20))
    )
    assert all(said.admitted for said in answers)
    assert await total(budgets, line()) == Total(held=60, version=1)


async def test_an_equal_call_waits_for_the_first_and_finds_it(pg_database) -> None:
    async with broker_database(pg_database) as database:
        documents = [line_document(line(amount=60))]
        async with database.connection() as connection:
            transaction = connection.transaction()
            await transaction.start()
            await connection.fetchval(RESERVE, action(1), documents)
            second = asyncio.create_task(database.value(RESERVE, action(1), documents))
            await asyncio.sleep(0.2)
            assert not second.done()
            await transaction.commit()
        assert (await second)["admitted"]
        held = await total(PostgresBudgets(database), line())
        assert held == Total(held=60, version=1)


async def test_reservations_that_change_places_do_not_deadlock(budgets) -> None:
    names = ["a", "b", "c", "d"]

    async def wander(number):
        chance = random.Random(number)
        for _ in range(15):
            lines = [line(name, limit=MANY) for name in chance.sample(names, k=2)]
            assert (await budgets.reserve(action(number), lines)).admitted

    await asyncio.gather(*(wander(number) for number in range(16)))
    held = [(await total(budgets, line(name))).held for name in names]
    assert sum(held) == 2 * 16


async def test_equal_calls_for_other_windows_at_once_hold_in_exactly_one(
    budgets,
) -> None:
    today, tomorrow = line(amount=60), line(amount=60, window_start=TOMORROW)
    await asyncio.gather(
        *(budgets.reserve(action(1), [today if n % 2 else tomorrow]) for n in range(20))
    )
    held = [(await total(budgets, one)).held for one in (today, tomorrow)]
    assert sorted(held) == [0, 60]


@pytest.mark.control("6.4")
async def test_void_against_post_ends_in_exactly_one_of_them(budgets) -> None:
    for number in range(30):
        mine = action(number)
        await budgets.reserve(mine, [line(amount=1), line("b", amount=1)])
        await budgets.execute(mine)
        post, void = await asyncio.gather(
            budgets.post(mine, actual=Money(1, "USD")), budgets.void(mine)
        )
        assert post.made is not void.made
    for name in ("agent", "b"):
        now = await total(budgets, line(name))
        sums = await settled_sums(budgets)
        assert now.held == 0
        assert now.posted == sums[line(name).budget_id, "posted"]


async def test_an_expiry_against_an_execution_ends_in_exactly_one_of_them(
    budgets,
) -> None:
    for number in range(30):
        mine = action(number)
        await budgets.reserve(mine, [line(amount=1)])
        executed, expired = await asyncio.gather(
            budgets.execute(mine), budgets.void(mine, only_held=True)
        )
        assert executed.made is not expired.made
        (row,) = await budgets.reservations(action_id=mine)
        expected = (
            ReservationState.VOIDED if expired.made else ReservationState.EXECUTING
        )
        assert row.state is expected


async def test_budgets_that_nobody_used_yet_can_be_made_by_many_at_once(
    budgets,
) -> None:
    async def one(number):
        names = [f"n{(number + step) % 7}" for step in range(5)]
        random.Random(number).shuffle(names)
        return await budgets.reserve(
            action(number), [line(name, limit=MANY) for name in names]
        )

    answers = await asyncio.gather(*(one(number) for number in range(60)))
    assert all(said.admitted for said in answers)
    held = [(await total(budgets, line(f"n{n}"))).held for n in range(7)]
    assert sum(held) == 300


@pytest.mark.control("6.4")
async def test_a_policy_that_looks_never_lets_more_through_than_its_threshold(
    budgets,
) -> None:
    # Authorize, then reserve: without the version 20 pass a threshold of 5.
    calls = line("calls", limit=1_000)

    async def one(number):
        for _ in range(100):
            now = await total(budgets, calls)
            if now.held >= 5:
                return False
            seen = line("calls", limit=1_000, version=now.version)
            if (await budgets.reserve(action(number), [seen])).admitted:
                return True
        return False

    passed = await asyncio.gather(*(one(number) for number in range(20)))
    assert sum(passed) == 5
    assert (await total(budgets, calls)).held == 5


async def test_what_one_agent_holds_pending_is_capped_and_comes_back(budgets) -> None:
    pending = line("pending", window=Window.PENDING, unit="count", limit=3)
    answers = [await budgets.reserve(action(n), [pending]) for n in range(4)]
    assert [said.admitted for said in answers] == [True, True, True, False]
    await budgets.execute(action(0))
    await budgets.post(action(0), actual=None)
    assert (await budgets.reserve(action(4), [pending])).admitted
