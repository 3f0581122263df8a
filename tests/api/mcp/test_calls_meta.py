"""Calls: what is said beside the arguments, and whose interaction it is."""

from __future__ import annotations

from typing import Any

from broker.api.mcp.words import (
    LISTED_MAX,
)
from broker.core.words.action import (
    CITATIONS_MAX,
    IDEMPOTENCY_KEY_LENGTH_MAX,
    REASON_LENGTH_MAX,
)
from tests.support.identities import INTERACTION_ID, OTHER_AGENT_ID
from tests.support.mcp.agent import OURS, SMALL, agent, refund
from tests.support.mcp.house import McpHouse

KEY = f"{OURS}idempotency-key"


# --------------------------------------------------------------- what is said beside it


async def test_a_new_idempotency_key_permits_an_intended_second(api: McpHouse) -> None:
    who = await agent(api)
    for key in ("a", "b", "a"):
        body = await who.body("orders_refund", **refund(), meta={KEY: key})
        assert body["status"] == "done"
    assert api.house.executor.amounts() == [SMALL, SMALL]
    used = await who.call("orders_refund", **refund(SMALL + 1), meta={KEY: "a"})
    assert used["code"] == -32602
    assert used["data"]["code"] == "conflict"


async def test_reason_and_citations_are_kept_with_the_action(api: McpHouse) -> None:
    who = await agent(api)
    meta = {f"{OURS}reason": "The customer asked.", f"{OURS}citations": ["policy#3"]}
    body = await who.body("orders_refund", **refund(), meta=meta)
    record = await api.house.ports.store.action(body["action_id"])
    assert record is not None
    assert record.request.reason == "The customer asked."
    assert record.request.citations == ("policy#3",)


LARGEST: dict[str, Any] = {
    "idempotency-key": "k" * IDEMPOTENCY_KEY_LENGTH_MAX,
    "reason": "r" * REASON_LENGTH_MAX,
    "citations": ["c"] * CITATIONS_MAX,
}


async def test_what_is_said_beside_a_call_is_limited(api: McpHouse) -> None:
    who = await agent(api)
    for name, largest in LARGEST.items():
        meta = {OURS + name: largest}
        assert (await who.body("orders_refund", **refund(), meta=meta))["status"]
        meta = {OURS + name: largest + largest[:1]}
        over = await who.call("orders_refund", **refund(), meta=meta)
        assert over["code"] == -32602
        assert over["data"]["pointer"] == f"/_meta/io.counterfoil~1{name}"


MISTAKES: list[tuple[str, Any]] = [
    ("idempotency_key", "a"),
    ("idempotencykey", "a"),
    ("", "a"),
    ("idempotency-key", 5),
    ("idempotency-key", None),
    ("citations", "a"),
    ("citations", [5]),
    ("interaction", "x"),
]


async def test_a_misspelt_or_wrongly_typed_name_of_ours_does_not_pass_for_none(
    api: McpHouse,
) -> None:
    who = await agent(api)
    for name, value in MISTAKES:
        meta = {OURS + name: value}
        found = await who.call("orders_refund", **refund(), meta=meta)
        assert found["code"] == -32602, name
        assert found["data"]["pointer"].startswith("/_meta/io.counterfoil~1")
    assert api.house.executor.amounts() == []


async def test_names_of_others_in_meta_are_none_of_our_business(api: McpHouse) -> None:
    who = await agent(api)
    meta = {"progressToken": 1, "com.example/idempotency-key": "a", "x": None}
    body = await who.body("orders_refund", **refund(), meta=meta)
    assert body["status"] == "done"


# ------------------------------------------------------------------- whose interaction


async def test_a_token_without_an_interaction_must_name_one(api: McpHouse) -> None:
    interaction = await api.house.interaction()
    found = await api.call("customers_get", {}, who=api.proved())
    assert found["code"] == -32602
    assert found["data"]["pointer"] == "/_meta/io.counterfoil~1interaction"
    named = api.proved() | {"counterfoil-interaction": "x"}
    found = await api.call("customers_get", {}, who=named)
    assert found["code"] == -32602
    assert found["data"]["code"] == "invalid"
    named = api.proved() | {"counterfoil-interaction": interaction.interaction_id}
    found = await api.call("customers_get", {}, who=named)
    assert found["structuredContent"]["status"] == "done"


async def test_two_different_names_are_refused(api: McpHouse) -> None:
    one, two = await api.house.interaction(), await api.house.interaction()
    named = api.proved() | {"counterfoil-interaction": one.interaction_id}
    meta = {f"{OURS}interaction": two.interaction_id}
    found = await api.call("customers_get", {}, who=named, meta=meta)
    assert found["code"] == -32602
    meta = {f"{OURS}interaction": one.interaction_id}
    named = api.proved() | {"counterfoil-interaction": one.interaction_id}
    found = await api.call("customers_get", {}, who=named, meta=meta)
    assert found["structuredContent"]["status"] == "done"


async def test_a_token_of_one_interaction_is_denied_in_another(api: McpHouse) -> None:
    one, two = await api.house.interaction(), await api.house.interaction()
    meta = {f"{OURS}interaction": two.interaction_id}
    found = await api.call("customers_get", {}, who=api.bearer(one), meta=meta)
    assert found["isError"] is True
    assert found["structuredContent"]["reasons"] == [{"code": "other_interaction"}]
    unheard = {f"{OURS}interaction": INTERACTION_ID}
    found = await api.call("customers_get", {}, who=api.proved(), meta=unheard)
    assert found["structuredContent"]["reasons"] == [{"code": "no_such_interaction"}]
    assert api.house.executor.runs == []


async def test_a_token_of_one_interaction_sees_the_actions_of_that_one_alone(
    api: McpHouse,
) -> None:
    one, two = await agent(api, read=False), await agent(api, read=False)
    mine = await one.body("customers_get")
    other = await two.body("customers_get")
    bound = api.bearer(one.interaction)
    found = await api.call("list_my_actions", {"limit": LISTED_MAX}, who=bound)
    listed = found["structuredContent"]["actions"]
    assert [action["action_id"] for action in listed] == [mine["action_id"]]
    rest = await api.http.get("/v1/actions", headers=bound)
    assert [a["action_id"] for a in rest.json()["actions"]] == [mine["action_id"]]
    every = await one.body("list_my_actions")
    ids = [action["action_id"] for action in every["actions"]]
    assert ids == [other["action_id"], mine["action_id"]]
    newest = await one.body("list_my_actions", limit=1)
    assert len(newest["actions"]) == 1
    for tool in ("get_action", "cancel_action"):
        arguments = {"action_id": other["action_id"]}
        foreign = await api.call(tool, arguments, who=bound)
        unheard = await api.call(tool, {"action_id": OTHER_AGENT_ID}, who=bound)
        assert foreign["code"] == -32602
        assert foreign == unheard
