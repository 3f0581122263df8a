"""Orders to try a credential: for security, recorded before they are signed."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from broker.core.warrants.probes import PROBE_TTL_S_MAX, PROBE_VERSION_MAX
from broker.core.words.entry import EntryKind
from tests.support.door import PEOPLE
from tests.support.flow.executor import FakeExecutor

PATH = "/v1/admin/credentials/probes"
CUSTOMER = "sofia_li_9219"
BODY = {
    "connector": "retail",
    "version": 2,
    "tool": "orders.get",
    "arguments": {"order_id": "W0000000"},
    "customer_id": CUSTOMER,
}
CAROL = PEOPLE["carol"][0]


class Signing(FakeExecutor):
    """Signs nothing, and notes what it was asked to sign and what was logged then."""

    def __init__(self, door) -> None:
        super().__init__()
        self.orders: list[Any] = []
        self.door = door

    def order(self, order) -> str:
        self.orders.append((order, len(self.door.logged(EntryKind.PROBE))))
        return "signed"


@pytest.fixture
def signing(door):
    made = Signing(door)
    app = door.http._transport.app  # noqa: SLF001  (the door keeps no other hold of it)
    app.state.ports = SimpleNamespace(executor=made)
    return made


async def ask(door, who="carol", **changes):
    token = await door.token(who)
    return await door.call("POST", PATH, token, json=BODY | changes)


async def test_an_order_is_in_the_log_before_it_is_signed(door, signing):
    answer = await ask(door)
    assert answer.status_code == 201, answer.text
    assert answer.json()["order"] == "signed"
    ((order, logged),) = signing.orders
    assert logged == 1
    assert (order.connector, order.version, order.tool) == ("retail", 2, "orders.get")
    assert (order.arguments, order.customer_id) == (BODY["arguments"], CUSTOMER)
    life_s = (order.expires_at - order.issued_at).total_seconds()
    assert life_s == PROBE_TTL_S_MAX
    assert order.by == f"person:{CAROL}"
    assert {"global:dev", f"person:{CAROL}"} <= {scope for scope, _ in order.epochs}
    (entry,) = door.logged(EntryKind.PROBE)
    assert entry.detail["order"] == order.order_id
    assert entry.detail["by"] == order.by
    # Who it is about stands in the order alone.
    assert CUSTOMER not in str(entry)
    assert "W0000000" not in str(entry)


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"tool": "orders.refund"}, 422),
        ({"tool": "tickets.get"}, 404),
        ({"connector": "helpdesk"}, 404),
        ({"arguments": {}}, 422),
        ({"arguments": {"order_id": "W0000000", "more": 1}}, 422),
        ({"customer_id": ""}, 422),
        ({"version": 0}, 422),
        ({"version": PROBE_VERSION_MAX + 1}, 422),
        ({"version": PROBE_VERSION_MAX}, 201),
    ],
)
async def test_only_a_harmless_request_of_a_tool_can_be_ordered(
    door, signing, changes, status
):
    assert (await ask(door, **changes)).status_code == status
    assert len(signing.orders) == (status == 201)
    assert len(door.logged(EntryKind.PROBE)) == (status == 201)


async def test_whoever_is_not_of_security_orders_nothing(door, signing):
    assert (await ask(door, "alice")).status_code == 403
    assert signing.orders == []


async def test_nothing_is_ordered_or_logged_while_no_edge_answers(door, signing):
    signing.down = True
    assert (await ask(door)).status_code == 503
    assert door.logged(EntryKind.PROBE) == []
