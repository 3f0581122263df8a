"""A hijacked agent tries at random; what was paid for an order is all that it moves."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import pytest

from broker import flow
from broker.core.identity.refusals import HOLDER_REFUSALS_PER_MINUTE_MAX
from broker.core.words.decision import Deny
from broker.core.words.entry import EntryKind
from broker.core.words.errors import InvalidError, LedgerUnavailableError
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


async def test_an_agent_that_knocks_where_it_does_not_belong_cannot_fill_the_log(
    house: House,
) -> None:
    here = await house.interaction()
    nowhere = replace(here, interaction_id=house.ports.ids.new())
    clock = StillClock(house.ports.clock.now())
    ports = replace(house.ports, clock=clock)

    async def knock() -> None:
        answer = await flow.submit(ports, house.ask("customers.get", nowhere))
        # The answer is the same, written down or not.
        assert isinstance(answer.decision, Deny)
        assert answer.decision.reasons[0].code == "no_such_interaction"

    for _ in range(HOLDER_REFUSALS_PER_MINUTE_MAX + 5):
        await knock()
    assert await held_back(house) == [0] * HOLDER_REFUSALS_PER_MINUTE_MAX
    clock.at += timedelta(seconds=60 / HOLDER_REFUSALS_PER_MINUTE_MAX)
    sick = replace(ports, journal=SickJournal())
    with pytest.raises(LedgerUnavailableError):
        await flow.submit(sick, house.ask("customers.get", nowhere))
    clock.at += timedelta(seconds=60 / HOLDER_REFUSALS_PER_MINUTE_MAX)
    await knock()
    # The five, and the one that the log could not take.
    assert (await held_back(house))[-1] == 6


async def held_back(house: House) -> list[int]:
    """Return what the entries of refusals say of others, oldest first."""
    entries = await house.all_entries()
    refused = [one for one in entries if one["kind"] == EntryKind.REFUSED]
    return [one["detail"]["held_back"] for one in refused]


@dataclass
class StillClock:
    """A clock that goes on when it is told to."""

    at: datetime

    def now(self) -> datetime:
        return self.at


class SickJournal:
    """A log that can decide, and takes no entry."""

    async def ready(self) -> None:
        """Say that all is well."""

    async def record(self, _: object) -> None:
        msg = "the log is away"
        raise LedgerUnavailableError(msg)
