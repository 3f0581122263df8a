"""Lists in pages: complete, in order, and of one customer, agent or tool."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from broker.approving import ending, listing
from broker.approving.listing import Wanted
from broker.core.words.errors import InvalidError
from broker.ports.queue import Order
from tests.support.approvals.voters import approve, change_person, large_refund, voter
from tests.support.flow.house import AGENT_ID

if TYPE_CHECKING:
    from tests.support.flow.house import House

AMOUNTS = (21_000, 25_000, 23_000, 22_000, 24_000)


async def walked(house: House, wanted: Wanted) -> list[int]:
    """Return the amounts of all pages, in order."""
    found: list[int] = []
    who = voter(house, "alice")
    for _ in range(20):
        page = await listing.page(house.ports, who, wanted)
        assert len(page.waiting) <= wanted.limit
        amounts = [one.desk.amount for one in page.waiting]
        found += [amount.minor_units for amount in amounts if amount]
        if not page.cursor:
            return found
        wanted = replace(wanted, cursor=page.cursor)
    raise AssertionError


async def test_pages_together_are_the_list_in_either_order(house: House) -> None:
    for amount in AMOUNTS:
        await large_refund(house, amount)
    for limit in (1, 2, 5, 6):
        assert await walked(house, Wanted(limit=limit)) == [*AMOUNTS]
        largest = Wanted(limit=limit, order=Order.AMOUNT)
        assert await walked(house, largest) == sorted(AMOUNTS, reverse=True)
    # Two roles, one list, each approval once.
    await change_person(house, "alice", roles=["supervisor", "security"])
    assert await walked(house, Wanted(limit=2)) == [*AMOUNTS]


async def test_what_ends_while_somebody_pages_is_skipped(house: House) -> None:
    records = [await large_refund(house, amount) for amount in AMOUNTS]
    who = voter(house, "alice")
    first = await listing.page(house.ports, who, Wanted(limit=2))
    await approve(house, "bob", records[2].approval_id)
    await ending.withdraw(house.ports, records[0])
    rest = await listing.page(house.ports, who, Wanted(cursor=first.cursor))
    shown = [one.desk.approval_id for one in rest.waiting]
    assert shown == [records[3].approval_id, records[4].approval_id]


async def test_a_list_is_of_one_customer_agent_or_tool(house: House) -> None:
    record = await large_refund(house)
    mine: dict[str, Any] = {
        "customer_ref": record.customer_ref,
        "agent_id": AGENT_ID,
        "tool": "orders.refund",
    }
    for wanted in map(Wanted, [9, 9], Order):
        assert len(await walked(house, replace(wanted, **mine))) == 1
        for name, value in mine.items():
            assert len(await walked(house, replace(wanted, **{name: value}))) == 1
            another = replace(wanted, **mine | {name: "another"})
            assert await walked(house, another) == []


@pytest.mark.parametrize(
    "cursor", ["x", "e30", "WyJleHBpcnkiLCAxLCAyXQ", "\u00e4", "bnVsbA"]
)
async def test_a_cursor_that_is_none_of_ours_is_refused(
    house: House, cursor: str
) -> None:
    with pytest.raises(InvalidError) as refused:
        await listing.page(house.ports, voter(house, "alice"), Wanted(cursor=cursor))
    assert refused.value.pointer == "/cursor"


async def test_a_cursor_goes_on_in_the_order_that_it_was_made_for(
    house: House,
) -> None:
    for amount in AMOUNTS[:2]:
        await large_refund(house, amount)
    who = voter(house, "alice")
    first = await listing.page(house.ports, who, Wanted(limit=1))
    wanted = Wanted(cursor=first.cursor, order=Order.AMOUNT)
    with pytest.raises(InvalidError, match="this list"):
        await listing.page(house.ports, who, wanted)
