"""The shop's connector: each tool sends its one request, and returns little."""

from __future__ import annotations

import pytest

from tests.support.fake_edge import Seen
from tests.tools.conftest import Rig
from tests.tools.test_manifests import CATALOG
from tools.settings import Settings

ORDER = {
    "order_id": "W0000001",
    "customer_id": "noah_brown_6181",
    "status": "pending",
    "items": [{"item_id": "1", "options": {"color": "blue", "size": "M"}}],
    "paid_minor_units": 5_000,
    "notes": [{"note_id": "n", "author": "a", "text": "t", "created_at": "c"}],
}
CUSTOMER = {
    "customer_id": "noah_brown_6181",
    "name": {"first_name": "Noah", "last_name": "Brown"},
    "address": {"zip": "80279"},
    "order_ids": ["W0000001"],
}
REFUND = {
    "order_id": "W0000001",
    "amount_minor_units": 1_000,
    "currency": "USD",
    "payment_method_id": "paypal_5727330",
}


@pytest.fixture
async def shop(rig: Rig) -> Rig:
    rig.settings = Settings(
        runner_socket=rig.settings.runner_socket,
        edge_socket=rig.settings.edge_socket,
        catalog=CATALOG,
    )
    await rig.restart()
    return rig


async def ask(shop: Rig, tool: str, status: int, answer: object, **arguments: object):
    """Run a tool for a customer and action; return the answer and the one request."""

    def upstream(_: Seen) -> tuple[int, object]:
        return status, answer

    shop.edge.upstream = upstream
    shop.edge.seen.clear()
    jws = shop.warrant(
        tool, arguments=arguments, customer="noah_brown_6181", action="action-7"
    )
    got = await shop.client.run(jws)
    assert len(shop.edge.seen) == 1
    return got, shop.edge.seen[0]


async def test_reading_an_order_lists_its_options(shop: Rig):
    got, seen = await ask(shop, "orders.get", 200, ORDER, order_id="W0000001")
    assert (seen.method, seen.target, seen.body) == ("GET", "/orders/W0000001", None)
    assert got["result"]["items"][0]["options"] == [
        {"option": "color", "value": "blue"},
        {"option": "size", "value": "M"},
    ]
    assert got["error"] is None


async def test_reading_the_customer_leaves_the_address_out(shop: Rig):
    got, seen = await ask(shop, "customers.get", 200, CUSTOMER)
    assert (seen.method, seen.target) == ("GET", "/customers/noah_brown_6181")
    assert got["result"]["order_ids"] == ["W0000001"]
    assert "address" not in got["result"]


@pytest.mark.parametrize(
    "details",
    [
        {"email": "noah@example.com"},
        {"first_name": "Noah", "last_name": "Brown", "zip": "80279"},
    ],
)
async def test_verifying_says_whether_details_match_and_nothing_else(shop, details):
    found = {"customer_id": "noah_brown_6181", "matched": True}
    got, seen = await ask(shop, "customers.verify", 200, found, **details)
    assert (seen.method, seen.target) == ("POST", "/customers/find")
    assert seen.body == details
    assert got["result"] == {"matched": True}


async def test_no_match_is_an_answer_and_a_failure_is_not(shop: Rig):
    nobody = {"email": "nobody@example.com"}
    got, _ = await ask(shop, "customers.verify", 404, {"error": "no_match"}, **nobody)
    assert (got["result"], got["error"]) == ({"matched": False}, None)
    got, _ = await ask(shop, "customers.verify", 500, {}, **nobody)
    assert got["error"]["code"] == "connector_error"


async def test_refunding_sends_what_was_decided_and_the_action(shop: Rig):
    answer = {"refund_id": "r", "status": "accepted"}
    got, seen = await ask(shop, "orders.refund", 201, answer, **REFUND)
    assert (seen.method, seen.target) == ("POST", "/orders/W0000001/refunds")
    decided = {name: value for name, value in REFUND.items() if name != "order_id"}
    assert seen.body == {**decided, "reference": "action-7"}
    assert got["result"] == answer


async def test_cancelling_sends_the_reason_and_the_action(shop: Rig):
    arguments = {"order_id": "W0000001", "reason": "no longer needed"}
    got, seen = await ask(shop, "orders.cancel", 200, {"status": "x"}, **arguments)
    assert (seen.method, seen.target) == ("POST", "/orders/W0000001/cancel")
    assert seen.body == {"reason": "no longer needed", "reference": "action-7"}
    assert got["result"] == {"status": "x"}


async def test_answering_delivers_the_text_to_the_customer(shop: Rig):
    got, seen = await ask(shop, "answers.send", 201, {"reply_id": "p"}, text="Héllo")
    assert (seen.method, seen.target) == ("POST", "/customers/noah_brown_6181/replies")
    assert seen.body == {"channel": "chat", "text": "Héllo", "reference": "action-7"}
    assert got["result"] == {"reply_id": "p"}


@pytest.mark.parametrize(
    ("tool", "arguments"),
    [
        ("orders.get", {"order_id": "W0000001"}),
        ("customers.get", {}),
        ("orders.refund", REFUND),
        ("orders.cancel", {"order_id": "W0000001", "reason": "no longer needed"}),
        ("answers.send", {"text": "Hello"}),
    ],
)
async def test_an_upstream_that_refuses_is_a_declared_failure(shop, tool, arguments):
    got, _ = await ask(shop, tool, 409, {"error": "limit_reached"}, **arguments)
    assert got["result"] is None
    assert got["error"] == {
        "code": "connector_error",
        "detail": "upstream_refused: answered 409",
    }
    assert got["receipt"]
