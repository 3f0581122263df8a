"""An agent over MCP: it calls tools in one interaction, and reads what it is told."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from tests.support.flow.executor import CARD, ORDER

if TYPE_CHECKING:
    from broker.core.words.subject import Interaction
    from tests.support.mcp.house import McpHouse

OURS = "io.counterfoil/"
SMALL = 1_000
"""Minor units that the standing approval covers."""


def refund(amount: int = SMALL, **changes: Any) -> dict[str, Any]:
    base = {
        "order_id": ORDER,
        "amount_minor_units": amount,
        "currency": "USD",
        "payment_method_id": CARD,
    }
    return base | changes


class Agent:
    """An agent in one interaction, with a DPoP token unless it has a Bearer one."""

    def __init__(self, api: McpHouse, interaction: Interaction) -> None:
        self.api = api
        self.interaction = interaction

    async def call(self, tool: str, /, **arguments: Any) -> dict[str, Any]:
        meta = {f"{OURS}interaction": self.interaction.interaction_id}
        meta |= arguments.pop("meta", {})
        return await self.api.call(tool, arguments, who=self.api.proved(), meta=meta)

    async def body(self, tool: str, /, **arguments: Any) -> dict[str, Any]:
        result = await self.call(tool, **arguments)
        body: dict[str, Any] = result["structuredContent"]
        assert json.loads(result["content"][0]["text"]) == body
        return body


async def agent(api: McpHouse, *, read: bool = True) -> Agent:
    interaction = await api.house.interaction()
    if read:
        await api.house.read_order(interaction)
    return Agent(api, interaction)
