"""What is asked, granted and used is compared, and what nobody used may go."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from broker.core.words.tool import Tool
from broker.registry.agents import AgentRow, AgentStatus
from broker.registry.kit.permissions import ToolUse, report
from broker.registry.tools import parse_manifest
from tests.registry.kit.test_lint import put, read, refund

NOW = datetime(2026, 11, 26, tzinfo=UTC)
SINCE = NOW - timedelta(days=90)


def tools() -> list[Tool]:
    ticket = put(read(), "egress/requests/0/scopes", ["tickets:read"])
    close = put(ticket, "tool/name", "tickets.look")
    close = put(close, "egress/requests/0/scopes", ["tickets:read", "tickets:all"])
    return [parse_manifest(one, name="x") for one in (refund(), ticket, close)]


def agent(name: str, *names: str, status: AgentStatus = AgentStatus.ACTIVE) -> AgentRow:
    return AgentRow(
        agent_id=f"id-{name}",
        revision=1,
        environment="dev",
        name=name,
        owner="o",
        use_case="u",
        tier_max=3,
        tools=frozenset(names),
        keys=(),
        status=status,
    )


def use(name: str, tool: str, uses: int = 2) -> ToolUse:
    return ToolUse(f"id-{name}", tool, uses, NOW)


def compare(agents: list[AgentRow], *uses: ToolUse) -> dict[str, Any]:
    return report(tools(), agents, uses, since=SINCE)


def dropped(found: dict[str, Any]) -> list[tuple[str, str, str, str]]:
    return [
        (one["what"], one["tool"], one["agent"], one["scope"]) for one in found["drop"]
    ]


def test_each_connector_says_what_it_asks_who_holds_it_and_what_was_used():
    held = [agent("a", "tickets.get"), agent("b", "tickets.get")]
    found = compare(held, use("a", "tickets.get"))
    helpdesk, retail = found["connectors"]
    assert (helpdesk["connector"], retail["connector"]) == ("helpdesk", "retail")
    get, look = helpdesk["tools"]
    assert get["requests"] == [
        {
            "method": "GET",
            "path": "/tickets/{args.ticket_id}",
            "scopes": ["tickets:read"],
        }
    ]
    assert [(one["name"], one["uses"]) for one in get["agents"]] == [("a", 2), ("b", 0)]
    assert get["agents"][0]["last_used"] == get["last_used"] != ""
    assert (look["agents"], look["uses"]) == ([], 0)
    assert [
        (one["scope"], one["granted"], one["uses"]) for one in helpdesk["scopes"]
    ] == [
        ("tickets:all", False, 0),
        ("tickets:read", True, 2),
    ]


def test_what_nobody_used_is_proposed_to_be_dropped():
    held = [agent("a", "tickets.get"), agent("b", "tickets.get", "orders.refund")]
    found = compare(held, use("a", "tickets.get"), use("b", "orders.refund"))
    assert dropped(found) == [
        ("grant", "tickets.get", "b", ""),
        ("tool", "tickets.look", "", ""),
        ("scope", "", "", "tickets:all"),
    ]
    assert found["drop"][0]["how"] == "counterfoil agents ungrant id-b tickets.get"


def test_nothing_is_dropped_when_everything_is_used():
    names = ["tickets.get", "tickets.look", "orders.refund"]
    found = compare([agent("a", *names)], *(use("a", name) for name in names))
    assert found["drop"] == []


def test_an_agent_that_is_not_active_holds_nothing_and_its_uses_still_count():
    gone = agent("a", "tickets.get", status=AgentStatus.REVOKED)
    found = compare([gone], use("a", "tickets.get"))
    get = found["connectors"][0]["tools"][0]
    assert (get["agents"], get["uses"]) == ([], 2)
    assert ("tool", "tickets.get", "", "") in dropped(found)


def test_a_tool_that_there_is_not_is_a_grant_to_drop():
    found = compare([agent("a", "gone.tool")])
    assert ("grant", "gone.tool", "a", "") in dropped(found)
