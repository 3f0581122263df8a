"""A broker's flow whose executor is the shop's connector before the real CRM.

What the edge would send is decided by its own rules; only sandbox and sockets are
left out, so that whole conversations can be replayed in seconds.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from json import dumps, loads
from typing import TYPE_CHECKING, Any

from broker import flow
from broker.core.warrants.template import Filling
from broker.core.words.action import ActionRecord
from broker.core.words.errors import BrokerError
from broker.core.words.subject import VerificationLevel
from broker.core.words.tool import Tool
from broker.edge.egress.rules import Allowed, Asked, decide
from broker.edge.receipts import extract
from broker.registry.tools import parse_manifest
from tests.support.approvals.voters import approve
from tests.support.crm import ROOT, Crm
from tests.support.flow.executor import FakeExecutor
from tests.support.tau.truth import Step
from tools.catalog.retail import connector
from tools.sdk import Call, ConnectorError, Http, Response

if TYPE_CHECKING:
    from broker.core.words.subject import Interaction
    from broker.core.words.warrant import Warrant
    from tests.support.flow.house import House

SIGNERS = ("alice", "bob")
JSON = "application/json"


def retail() -> dict[str, Tool]:
    """Return the shop's tools by name."""
    files = sorted((ROOT / "tools" / "catalog" / "retail").glob("*.toml"))
    tools = [parse_manifest(tomllib.loads(f.read_text()), name=f.stem) for f in files]
    return {tool.name: tool for tool in tools}


class EdgeLike(Http):
    """Send what the connector asks for, if the edge's rules allow it."""

    def __init__(self, crm: Crm, tool: Tool, warrant: Warrant) -> None:
        """Send for one warrant."""
        self._crm, self._tool, self._warrant = crm, tool, warrant
        self.status, self.raw = 0, b""

    def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        json: Mapping[str, object] | None = None,
        form: Mapping[str, str | int] | bytes | None = None,
    ) -> Response:
        """Decide as the edge does, and pass on what was decided."""
        assert query is None
        assert form is None
        filling = Filling(
            self._warrant.arguments,
            customer=self._warrant.customer_id,
            action=self._warrant.action_id,
        )
        body = b"" if json is None else dumps(json).encode()
        asked = Asked(method, path, "" if json is None else JSON, body)
        allowed = decide(asked, tool=self._tool, filling=filling, used={})
        assert isinstance(allowed, Allowed), allowed
        if allowed.body is None:
            answer = self._crm.get(allowed.target)
        else:
            key = self._warrant.idempotency_key if allowed.request.effectful else None
            answer = self._crm.post(allowed.target, loads(allowed.body), key=key)
        self.status, self.raw = answer.status_code, answer.content
        return Response(answer.status_code, {}, answer.content)


class ShopExecutor(FakeExecutor):
    """The Executor port: runs the connector's own code before the real CRM."""

    def __init__(self, crm: Crm) -> None:
        """Execute at this CRM."""
        super().__init__()
        self._crm, self._tools, self._raw = crm, retail(), b""

    def _shop(self, warrant: Warrant) -> tuple[int, dict[str, Any]]:
        tool = self._tools[warrant.tool]
        http = EdgeLike(self._crm, tool, warrant)
        call = Call(
            arguments=warrant.arguments,
            customer=warrant.customer_id,
            action=warrant.action_id,
            http=http,
        )
        try:
            result = getattr(connector, tool.entry)(call)
        except ConnectorError:
            result = {}
        done = http.status in tool.request(tool.receipt.request_id).done
        self._raw = http.raw if done else b"{}"
        return http.status, result

    def _values(self, warrant: Warrant, body: Mapping[str, Any]) -> dict[str, Any]:
        values, alarms = extract(self._raw, self._tools[warrant.tool].receipt.values)
        assert alarms == ()
        return values


@dataclass
class Shop:
    """A scripted agent, a customer and supervisors at a house."""

    house: House
    crm: Crm

    async def interaction(self, customer: str) -> Interaction:
        """Open an interaction; with a customer the channel has verified it."""
        level = VerificationLevel.MATCHED if customer else VerificationLevel.NONE
        return await self.house.interaction(level=level, customer=customer)

    async def ask(
        self, interaction: Interaction, tool: str, /, **arguments: Any
    ) -> ActionRecord | None:
        """Ask for something; None if it was refused before it was stored."""
        try:
            ask = self.house.ask(tool, interaction, **arguments)
            return (await flow.submit(self.house.ports, ask)).record
        except BrokerError:
            return None

    async def prepare(self, interaction: Interaction, one: Step) -> None:
        """Have the customer say what is wanted, and the agent read what it names."""
        if "order_id" not in one.arguments and not one.changes:
            return
        said = ", ".join(str(value) for value in one.arguments.values())
        await self.house.say(interaction, f"I would like this: {said}.")
        await self.ask(interaction, "customers.get")
        if one.tool != "orders.get" and "order_id" in one.arguments:
            order_id = one.arguments["order_id"]
            await self.ask(interaction, "orders.get", order_id=order_id)
        for item_id in one.arguments.get("new_item_ids", ()):
            await self.ask(interaction, "items.get", item_id=item_id)

    async def signed(self, record: ActionRecord) -> ActionRecord:
        """Have as many people approve as are asked for, and settle the action."""
        assert record.asked is not None
        for name in SIGNERS[: record.asked.quorum.approvers_min]:
            await approve(self.house, name, record.approval_id)
        action_id = record.request.action_id
        settled = await flow.settle(self.house.ports, action_id)
        assert settled is not None
        return settled
