"""What the demo's agent may ask for: what it needs, and none of the sharpest tools."""

from __future__ import annotations

from broker.cli.bootstrap import AGENT_TOOLS
from broker.core.words.effect import Effect, Tier
from tests.support.cases import all_tools


def test_the_demos_agent_has_two_consequential_tools_and_no_identity_or_entitlement():
    tools = {tool.name: tool for tool in all_tools()}
    granted = [tools[name] for name in AGENT_TOOLS]
    assert {one.name for one in granted if one.tier is Tier.CONSEQUENTIAL} == {
        "orders.cancel",
        "orders.refund",
    }
    effects = {one.effect for one in granted}
    assert not effects & {Effect.IDENTITY, Effect.ENTITLEMENT}
