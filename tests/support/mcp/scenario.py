"""What an agent does over MCP, as a client sees it: read, refund, wait, result.

Played by an unmodified client against the application in one process, and against a
running stack over the network.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from mcp.client import Client
    from mcp_types import CallToolResult

POLLS_MAX = 20
ENVELOPE = {
    "status",
    "action_id",
    "args_digest",
    "expires_at",
    "retry_after_s",
    "next",
}


def body_of(result: CallToolResult) -> dict[str, Any]:
    """Return what a result says, having seen that text and structure say the same."""
    (block,) = result.content
    assert block.type == "text"
    body: dict[str, Any] = json.loads(block.text)
    assert result.structured_content == body
    return body


async def refund_through_approval(
    client: Client,
    refund: Mapping[str, Any],
    *,
    approve: Callable[[str], Awaitable[None]],
) -> dict[str, Any]:
    """List tools, read, ask for a refund that needs a person, and see it done.

    Args:
        client: A connected client, its token bound to an interaction with a customer.
        refund: Arguments of ``orders.refund``, for an order of that customer and an
            amount that needs a person.
        approve: Lets a person approve the action with this id.

    Returns:
        The final state of the refund.
    """
    names = {tool.name for tool in (await client.list_tools()).tools}
    assert {"orders_refund", "get_action", "cancel_action", "list_my_actions"} <= names
    customer = body_of(await client.call_tool("customers_get", {}))
    assert refund["order_id"] in customer["result"]["order_ids"]
    order = await client.call_tool("orders_get", {"order_id": refund["order_id"]})
    assert body_of(order)["status"] == "done"

    asked = await client.call_tool("orders_refund", dict(refund))
    pending = body_of(asked)
    assert not asked.is_error
    assert pending["status"] == "pending_approval"
    assert pending.keys() >= ENVELOPE
    again = body_of(await client.call_tool("orders_refund", dict(refund)))
    assert again["action_id"] == pending["action_id"]

    await approve(pending["action_id"])
    state = pending
    for _ in range(POLLS_MAX):
        if state["status"] not in {"pending_approval", "executing"}:
            break
        seen = await client.call_tool("get_action", {"action_id": pending["action_id"]})
        state = body_of(seen)
    assert state["status"] == "done", state
    assert state["args_digest"] == pending["args_digest"]
    mine = body_of(await client.call_tool("list_my_actions", {}))["actions"]
    assert mine[0]["action_id"] == pending["action_id"]
    return state
