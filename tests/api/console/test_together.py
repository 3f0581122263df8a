"""What several people see of each other's work: who works on a card, what was asked."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from broker.api.console.filters import address_of, wanted_by
from broker.approving import asking, claiming
from broker.approving.listing import Wanted
from broker.ports.queue import Order
from tests.support.approvals.voters import large_refund, voter

if TYPE_CHECKING:
    from tests.api.console.conftest import Browser


async def test_a_claim_and_a_question_with_its_answer_are_on_the_card(
    browser: Browser,
) -> None:
    house = browser.house
    record = await large_refund(house)
    await browser.sign_in()
    await claiming.claim(house.ports, voter(house, "bob"), record.approval_id)
    hostile = "Which parcel? <script>alert(1)</script>"
    await asking.ask(house.ports, voter(house, "bob"), record.approval_id, hostile)
    page, _ = await browser.card(record)
    assert "somebody works on it" in page
    assert "Somebody else works on this" in page
    assert "not answered yet" in page
    assert "<script>alert" not in page
    [told] = await asking.unanswered(house.ports, record)
    await asking.answer(
        house.ports, record, question_id=told["question_id"], text="The blue one."
    )
    page, _ = await browser.card(record)
    said, asked, answer = (
        page.index(words)
        for words in ("The customer said", "Asked of the agent", "The blue one.")
    )
    assert said < asked < answer < page.index("own reason")
    assert "written by a model" in page


async def test_the_queue_is_sorted_and_filtered_as_its_address_says(
    browser: Browser,
) -> None:
    for amount in (21_000, 23_000):
        await large_refund(browser.house, amount)
    await browser.sign_in()
    page = (await browser.get("/console", params={"order": "amount"})).text
    assert page.index("230.00 USD") < page.index("210.00 USD")
    page = (await browser.get("/console")).text
    assert page.index("210.00 USD") < page.index("230.00 USD")
    page = (await browser.get("/console", params={"tool": '"><script>x'})).text
    assert "USD" not in page
    assert "<script>x" not in page
    part = await browser.get("/console/queue", params={"tool": "orders.refund"})
    assert "?tool=orders.refund" in part.text


@pytest.mark.parametrize(
    ("query", "wanted"),
    [
        ({}, Wanted()),
        ({"order": "name", "tool": " "}, Wanted()),
        (
            {"order": "amount", "customer": "c", "agent": "a", "tool": "t"},
            Wanted(order=Order.AMOUNT, customer_ref="c", agent_id="a", tool="t"),
        ),
    ],
)
def test_an_address_is_read_as_it_is_written(
    query: dict[str, str], wanted: Wanted
) -> None:
    assert wanted_by(query) == wanted
    kept = dict(pair.split("=") for pair in address_of(wanted).split("&") if pair)
    assert wanted_by(kept) == wanted
