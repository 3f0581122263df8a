"""Runner and edge together: each tool through a real edge to a real CRM."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from broker.core.jws import PublicKey, public_from_jwk, verify
from broker.core.warrants.orders import parse_hello, parse_receipt
from broker.core.words.warrant import (
    EDGE_HELLO_TYP,
    RECEIPT_TYP,
    Receipt,
    SentState,
    Warrant,
)
from broker.edge.identity import read_json
from tests.edge.lab import signed
from tests.edge.process import CATALOG, EdgeProcess, make_edge
from tests.support.crm import Crm, crm, crm_process
from tests.support.fake_edge import RunnerClient
from tools.dispatcher import Dispatcher
from tools.settings import Settings

__all__ = ["crm", "crm_process"]

SOFIA = "sofia_li_9219"


class Executor:
    """A runner and its edge, as a broker sees them."""

    def __init__(self, edge: EdgeProcess, client: RunnerClient) -> None:
        self.edge = edge
        self.client = client

    async def run(self, order: Warrant) -> tuple[dict[str, Any], Receipt]:
        """Have a warrant run; return the answer and its verified receipt."""
        answer = await self.client.run(signed(order))
        claims = verify(answer["receipt"], keys=self.keys(), typ=RECEIPT_TYP)
        return answer, parse_receipt(claims)

    def keys(self) -> dict[str, PublicKey]:
        """Return the edge's receipt key, wherever it publishes it."""
        (path,) = (self.edge.state / "public").rglob("receipt.jwk")
        key = public_from_jwk(read_json(path))
        return {key.kid: key}

    async def call(
        self, tool: str, customer: str = SOFIA, **arguments: Any
    ) -> tuple[dict[str, Any], Receipt]:
        return await self.run(self.edge.order(tool, arguments, customer_id=customer))


@pytest.fixture
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("x")


@pytest.fixture
async def executor(folder: Path, pg_edge_dsn: str, crm: Crm) -> AsyncIterator[Executor]:
    edge = make_edge(
        folder, database=pg_edge_dsn, crm_url=crm.url, credential=crm.credential
    )
    dispatcher = Dispatcher(
        Settings(
            runner_socket=folder / "runner.sock",
            edge_socket=edge.socket,
            catalog=CATALOG,
        )
    )
    try:
        await edge.start()
        await dispatcher.start()
        client = await RunnerClient.connect(folder / "runner.sock")
        yield Executor(edge, client)
        client.close()
    finally:
        await dispatcher.close()
        if edge.process is not None:
            edge.stop(signal.SIGKILL)


def refundable(crm: Crm) -> dict[str, Any]:
    """Return the arguments of a refund that the shop would take."""
    for order_id in crm.get(f"/customers/{SOFIA}").json()["order_ids"]:
        order = crm.order(order_id)
        if order["paid_minor_units"] - order["refunded_minor_units"] > 1_000:
            return {
                "order_id": order_id,
                "amount_minor_units": 700,
                "currency": "USD",
                "payment_method_id": order["payments"][0]["payment_method_id"],
            }
    raise AssertionError(SOFIA)


async def test_every_tool_that_reads_reads(executor: Executor, crm: Crm):
    email = crm.get(f"/customers/{SOFIA}").json()["email"]
    answer, receipt = await executor.call("customers.verify", "", email=email)
    assert (answer["result"], receipt.values["owner"]) == ({"matched": True}, SOFIA)
    nobody = {"first_name": "No", "last_name": "Body", "zip": "00000"}
    answer, receipt = await executor.call("customers.verify", "", **nobody)
    assert (answer["result"], receipt.upstream_status) == ({"matched": False}, 404)
    answer, receipt = await executor.call("customers.get")
    assert receipt.values["owner"] == answer["result"]["customer_id"] == SOFIA
    order_id = answer["result"]["order_ids"][0]
    answer, receipt = await executor.call("orders.get", order_id=order_id)
    paid = crm.order(order_id)["paid_minor_units"]
    assert receipt.values["paid"] == answer["result"]["paid_minor_units"] == paid
    assert answer["result"]["items"][0]["options"][0]["option"]


async def test_every_tool_that_acts_acts_once(executor: Executor, crm: Crm):
    refund = refundable(crm)
    order = executor.edge.order("orders.refund", refund, customer_id=SOFIA)
    answer, receipt = await executor.run(order)
    assert receipt.state is SentState.ANSWERED
    assert receipt.values["amount"] == answer["result"]["amount_minor_units"] == 700
    again = await executor.client.run(signed(order))
    assert again["error"] == {"code": "edge_refused", "detail": "warrant_spent"}
    answer, receipt = await executor.call("answers.send", text="Es ist geschehen.")
    assert answer["result"]["reply_id"] == receipt.values["reply"]
    assert [one["text"] for one in crm.replies(SOFIA)] == ["Es ist geschehen."]
    kinds = [entry["kind"] for entry in crm.journal()]
    assert sorted(kinds) == ["refund", "reply"]


async def test_an_order_is_cancelled_or_the_shop_says_why_not(executor, crm: Crm):
    cancelled = 0
    for order_id in crm.get(f"/customers/{SOFIA}").json()["order_ids"]:
        pending = crm.order(order_id)["status"] == "pending"
        answer, receipt = await executor.call(
            "orders.cancel", order_id=order_id, reason="no longer needed"
        )
        assert (receipt.upstream_status == 200) == pending
        if pending:
            cancelled += 1
            assert answer["result"]["status"] == receipt.values["status"] == "cancelled"
        else:
            assert answer["error"]["detail"] == "upstream_refused: answered 409"
    assert len(crm.journal()) == cancelled


async def test_the_edges_greeting_comes_through_the_runner(executor: Executor):
    answer = await executor.client.ask({"op": "hello", "nonce": "n-1"})
    claims = verify(answer["edge_hello"], keys=executor.keys(), typ=EDGE_HELLO_TYP)
    assert parse_hello(claims).nonce == "n-1"


async def test_a_warrant_that_was_never_shown_is_void_once_asked_about(executor, crm):
    order = executor.edge.order("orders.refund", refundable(crm), customer_id=SOFIA)
    question = {
        "op": "ask",
        "warrant": order.warrant_id,
        "action": order.action_id,
        "nonce": "n",
    }
    assert (await executor.client.ask(question))["ok"] is True
    answer = await executor.client.run(signed(order))
    assert answer["error"]["code"] == "edge_refused"
    assert crm.journal() == []
