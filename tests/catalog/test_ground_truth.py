"""The shop's rules, against what somebody else's shop did with the same calls."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

from broker.core.guard import bind
from broker.core.warrants.template import Filling, fill_body, fill_path
from broker.core.words.errors import InvalidError
from broker.registry.tools import parse_manifest
from tests.support.crm import ROOT, Crm
from tests.support.tau.truth import Step, conversations, order_view, seen_as, step

CATALOG = ROOT / "tools" / "catalog" / "retail"
CONVERSATIONS = conversations()


def manifests() -> dict[str, Any]:
    tools = [_tool(path) for path in sorted(CATALOG.glob("*.toml"))]
    return {tool.name: tool for tool in tools}


def _tool(path: Path) -> Any:
    return parse_manifest(tomllib.loads(path.read_text()), name=path.name)


TOOLS = manifests()


def sent(crm: Crm, one: Step, customer: str, reference: str) -> tuple[Any, Any]:
    """Send what the manifest allows for the arguments; return the rule and answer."""
    tool = TOOLS[one.tool]
    bind(tool, one.arguments)
    (request,) = tool.requests
    filling = Filling(one.arguments, customer=customer, action=reference)
    path = fill_path(request.path, filling)
    if request.method == "GET":
        return request, crm.get(path)
    return request, crm.post(path, fill_body(request.body, filling), key=reference)


def read_on(crm: Crm) -> Any:
    def read(path: str) -> dict[str, Any]:
        answer = crm.get(path)
        return dict(answer.json()) if answer.status_code == 200 else {}

    return read


@pytest.mark.parametrize("name", sorted(CONVERSATIONS)[::4])
def test_a_conversations_calls_lead_where_the_ground_truth_does(
    crm: Crm, name: str
) -> None:
    customer, changes = who(CONVERSATIONS[name]), 0
    for number, call in enumerate(CONVERSATIONS[name]):
        one = step(call, read_on(crm))
        tool = TOOLS[one.tool]
        if one.tool == "customers.hand_over" and not customer:
            continue  # the shop's policy: first find out who it is
        if one.arguments.get("order_id", "W").isdecimal():
            assert one.fails
            with pytest.raises(InvalidError):
                bind(tool, one.arguments)
            continue
        request, answer = sent(crm, one, customer, f"{name}-{number}")
        if one.fails:
            assert answer.status_code in request.refused, (one, answer.text)
            continue
        assert answer.status_code in request.done, (one, answer.text)
        customer = answer.json().get("customer_id", customer)
        changes += request.effectful
        if one.changes:
            check_state(crm, one, customer)
    journal = crm.journal()
    assert len(journal) == changes
    assert {entry["customer_id"] for entry in journal} <= {customer}


def who(calls: list[dict[str, Any]]) -> str:
    """Return the customer whom a conversation is about: some begin in the middle."""
    results = [call["result"] for call in calls if isinstance(call["result"], dict)]
    return next((one["user_id"] for one in results if "user_id" in one), "")


def check_state(crm: Crm, one: Step, customer: str) -> None:
    if "status" not in one.result:
        record = crm.get(f"/customers/{customer}").json()
        assert record["address"] == one.result["address"]
        return
    wanted = order_view(one.result)
    order = crm.order(one.arguments["order_id"])
    assert seen_as(wanted, order) == wanted
    if one.tool == "orders.change_items":
        for item_id in one.arguments["new_item_ids"]:
            variant = crm.get(f"/items/{item_id}").json()
            assert variant.pop("available")
            assert variant in order["items"]
