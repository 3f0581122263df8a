"""REST and MCP ask one flow: whatever is asked, both get the same decision.

Two houses are alike at the start. The same calls go to one over REST and to the other
over MCP, in step; after every one both must have come to the same end.
"""

from __future__ import annotations

import random
from contextlib import AsyncExitStack
from typing import Any

from tests.support.flow.executor import CARD, ORDER
from tests.support.flow.house import House, open_house
from tests.support.mcp.house import McpHouse, open_api
from tests.support.servers import BROKER, database_of_its_own

CALLS = 60
OUTCOMES_MIN = 8
"""How many different ends the calls must have had for the comparison to mean much."""


def some_call(chance: random.Random) -> dict[str, Any]:
    """Return a call that an honest, mistaken or hijacked agent might make."""
    tool = chance.choice(
        ["orders.refund"] * 5
        + ["orders.get", "customers.get", "answers.send", "orders.cancel", "no.such"]
    )
    orders = [ORDER] * 6 + ["W0000001", "bad"]
    arguments: dict[str, Any] = {}
    if tool.startswith("orders"):
        arguments["order_id"] = chance.choice(orders)
    if tool == "orders.refund":
        amounts = [1_000, 2_500, 4_000, 20_000, 120_000, 500_001, 0, -1, 1.5, 2**53 - 1]
        arguments["amount_minor_units"] = chance.choice(amounts)
        arguments["currency"] = chance.choice(["USD"] * 5 + ["EUR"])
        arguments["payment_method_id"] = chance.choice([CARD] * 4 + ["gift_card_99999"])
    if tool == "orders.cancel":
        arguments["reason"] = chance.choice(["no longer needed", "x"])
    if tool == "answers.send":
        arguments["text"] = chance.choice(["Hello.", "Done.", "", 5])
    return {
        "tool": tool,
        "arguments": arguments,
        "key": chance.choice(["", "", "", "k1", "k2"]),
        "proof": chance.random() < 0.8,
    }


async def over_rest(api: McpHouse, interaction: str, call: dict[str, Any]) -> Any:
    url = "http://127.0.0.1:8400/v1/actions"
    who = api.proved(url) if call["proof"] else bearer(api, interaction)
    answer = await api.http.post(
        "/v1/actions",
        json={
            "tool": call["tool"],
            "arguments": call["arguments"],
            "interaction": interaction,
        },
        headers=who | ({"idempotency-key": call["key"]} if call["key"] else {}),
    )
    body = answer.json()
    if body.get("code") == "denied":
        body["status"] = "refused"
    if answer.status_code >= 400 and body["code"] != "denied":
        return "error", body["code"], body.get("pointer"), body["detail"]
    return seen(body)


async def over_mcp(api: McpHouse, interaction: str, call: dict[str, Any]) -> Any:
    who = api.proved() if call["proof"] else bearer(api, interaction)
    meta = {"io.counterfoil/interaction": interaction}
    if call["key"]:
        meta["io.counterfoil/idempotency-key"] = call["key"]
    found = await api.call(call["tool"], call["arguments"], who=who, meta=meta)
    if "structuredContent" not in found:
        data = found["data"]
        detail = found["message"].removesuffix(f"; {data['hint']}")
        return "error", data["code"], data.get("pointer"), detail
    return seen(found["structuredContent"])


def bearer(api: McpHouse, interaction: str) -> dict[str, str]:
    return {"authorization": f"Bearer {api.token(bound_to=interaction)}"}


def seen(body: dict[str, Any]) -> Any:
    """Return what does not differ between two houses."""
    reasons = [reason["code"] for reason in body.get("reasons", [])]
    names = ("status", "code", "args_digest", "standing_approval", "findings")
    result = {k: v for k, v in body.get("result", {}).items() if not k.endswith("_id")}
    return [body.get(name) for name in names], reasons, result


async def test_rest_and_mcp_come_to_the_same_decision(servers, pg_template) -> None:
    chance = random.Random(20261123)
    async with AsyncExitStack() as stack:
        apis: list[McpHouse] = []
        for _ in range(2):
            database = stack.enter_context(database_of_its_own(servers, pg_template))
            opening = open_house(database.dsn(BROKER), owner_dsn=database.dsn())
            house: House = await stack.enter_async_context(opening)
            apis.append(await stack.enter_async_context(open_api(house)))
        rest, mcp = apis
        interactions = []
        for api in apis:
            interaction = await api.house.interaction()
            await api.house.read_order(interaction)
            interactions.append(interaction.interaction_id)
        ends = set()
        for _ in range(CALLS):
            call = some_call(chance)
            first = await over_rest(rest, interactions[0], call)
            second = await over_mcp(mcp, interactions[1], call)
            assert first == second, call
            ends.add(str(first[:2]))
        assert rest.house.executor.amounts() == mcp.house.executor.amounts() != []
        assert await rest.house.held() == await mcp.house.held() > 0
    assert len(ends) >= OUTCOMES_MIN, ends
