"""An agent's client: what it may call, what it asks for, what became of it."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, Final

from broker.client.session import Session

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from broker.client.answers import Answer

WAIT_S_MAX: Final = 30
ENDED: Final = frozenset({"done", "refused", "failed", "cancelled", "expired"})


class AgentClient(Session):
    """Speaks to the tool API as one agent."""

    RESOURCE = "/v1"

    async def tools(self) -> Sequence[Mapping[str, Any]]:
        """Return the tools that this identity may call."""
        tools: Sequence[Mapping[str, Any]] = (
            await self.call("GET", "/v1/tools")
        ).checked()["tools"]
        return tools

    async def act(
        self,
        tool: str,
        arguments: Mapping[str, Any],
        *,
        interaction: str,
        reason: str = "",
        citations: Sequence[str] = (),
        idempotency_key: str = "",
    ) -> Answer:
        """Ask for an action; the answer may be done, pending, or a reasoned no."""
        return await self.call(
            "POST",
            "/v1/actions",
            json=_request(tool, arguments, interaction, reason, citations),
            headers={"idempotency-key": idempotency_key} if idempotency_key else None,
        )

    async def decide(
        self, tool: str, arguments: Mapping[str, Any], *, interaction: str
    ) -> Answer:
        """Ask what would be decided, without doing anything."""
        body = _request(tool, arguments, interaction, "", ())
        return await self.call("POST", "/v1/decisions", json=body)

    async def action(self, action_id: str, *, wait_s: int = 0) -> Answer:
        """Return an action; wait up to ``wait_s`` seconds for its end."""
        params = {"wait_s": str(min(wait_s, WAIT_S_MAX))} if wait_s else None
        return await self.call("GET", f"/v1/actions/{action_id}", params=params)

    async def cancel(self, action_id: str) -> Answer:
        """Withdraw an action that has not been executed."""
        return await self.call("DELETE", f"/v1/actions/{action_id}")

    async def wait(self, action_id: str, *, timeout_s: float) -> Answer:
        """Return an action when it has ended, or as it is after ``timeout_s``."""
        until_s = time.monotonic() + timeout_s
        while True:
            left_s = until_s - time.monotonic()
            answer = await self.action(action_id, wait_s=max(1, int(min(left_s, 10))))
            if answer.body.get("status") in ENDED or left_s <= 1 or not answer.ok:
                return answer
            await asyncio.sleep(0.05)


def _request(
    tool: str,
    arguments: Mapping[str, Any],
    interaction: str,
    reason: str,
    citations: Sequence[str],
) -> dict[str, Any]:
    body: dict[str, Any] = {
        "tool": tool,
        "arguments": dict(arguments),
        "interaction": interaction,
    }
    if reason:
        body["reason"] = reason
    if citations:
        body["citations"] = list(citations)
    return body
