"""A hijacked agent tries at random; what was paid for an order is all that it moves."""

from __future__ import annotations

import asyncio

import pytest

from broker import flow
from broker.core.words.errors import InvalidError
from tests.flow.test_books import OTHER_ID, taken_back
from tests.support.flow.executor import CARD, ORDER
from tests.support.flow.hijacked import Call, calls
from tests.support.flow.house import House, put_row, standing_body

CALLS, AT_ONCE = 120, 12
PAID = 21_000


@pytest.mark.control("6.4")
@pytest.mark.parametrize("seed", [1, 2])
async def test_a_hijacked_agent_moves_and_holds_no_more_than_was_paid_and_most_of_it(
    house: House, seed: int
) -> None:
    house.executor.paid = PAID
    body = standing_body(house, OTHER_ID, total=10**6)
    await put_row(house, "standing_approval", OTHER_ID, body)
    await taken_back(house)
    interaction = await house.interaction()
    await house.read_order(interaction)
    orders, payees = (ORDER, "W0000001"), (CARD, "card-of-nobody")
    waiting = calls(seed, CALLS, orders=orders, payees=payees, most=PAID)

    async def one(number: int, call: Call) -> None:
        ask = house.ask(
            call.tool,
            interaction,
            key=f"{seed}-{number}" if call.fresh else "",
            **call.arguments,
        )
        try:
            await flow.submit(house.ports, ask)
        except InvalidError:
            return

    async def work() -> None:
        for number, call in numbered:
            await one(number, call)

    numbered = enumerate(waiting)
    await asyncio.gather(*(work() for _ in range(AT_ONCE)))
    moved = sum(house.executor.amounts())
    # What waits for a person holds its part, and nothing else is left over.
    held = await house.database.value(
        "SELECT held FROM budget WHERE rule_id = 'order-paid'"
    )
    assert moved + held <= PAID
    # How much of it moves depends on whether an early large request waits with it all.
    assert moved + held > PAID // 2
    assert moved == await house.posted()
