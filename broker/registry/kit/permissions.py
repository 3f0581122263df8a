"""Compare what connectors ask for, what agents were granted, and what was used.

Asked is what manifests declare: requests, and the scopes that the upstream wants for
them. Granted is which active agents hold which tools. Used is what a warrant was issued
for. What nobody used is proposed to be dropped; a person decides.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from broker.core.words.moment import write_moment

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime

    from broker.core.words.tool import Tool
    from broker.registry.agents import AgentRow

DAYS_MAX: Final = 400
"""How far back uses are counted: a year, and what is done once a year."""


@dataclass(frozen=True, slots=True)
class ToolUse:
    """How often warrants were issued to an agent for a tool, and when the last was."""

    agent_id: str
    tool: str
    uses: int
    last_used: datetime


@dataclass(frozen=True, slots=True)
class Drop:
    """Something that nobody used: what it is, why it may go, and how."""

    what: str
    connector: str
    tool: str
    agent: str
    scope: str
    why: str
    how: str

    def json(self) -> dict[str, str]:
        """Return it for people and programs."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


def report(
    tools: Iterable[Tool],
    agents: Iterable[AgentRow],
    uses: Iterable[ToolUse],
    *,
    since: datetime,
) -> dict[str, Any]:
    """Return, per connector, what is asked, granted and used, and what to drop.

    Args:
        tools: Every tool of the catalogue.
        agents: Every agent whose row verifies; only active ones hold anything.
        uses: What was used since then.
        since: When counting began.
    """
    active = sorted((one for one in agents if one.active), key=lambda one: one.name)
    used = {(one.agent_id, one.tool): one for one in uses}
    by_connector: dict[str, list[Tool]] = defaultdict(list)
    for tool in tools:
        by_connector[tool.connector].append(tool)
    connectors = [
        _connector(name, found, active, used)
        for name, found in sorted(by_connector.items())
    ]
    known = {tool.name for found in by_connector.values() for tool in found}
    drops = [*_tools(by_connector, active, used), *_strays(active, known)]
    drops += [drop for one in connectors for drop in _scopes(one)]
    return {
        "since": write_moment(since),
        "connectors": connectors,
        "drop": [drop.json() for drop in drops],
    }


def _connector(
    name: str,
    tools: Sequence[Tool],
    agents: Sequence[AgentRow],
    used: Mapping[tuple[str, str], ToolUse],
) -> dict[str, Any]:
    shown = [_tool(tool, agents, used) for tool in tools]
    scopes: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for tool in shown:
        for request in tool["requests"]:
            for scope in request["scopes"]:
                if tool not in scopes[scope]:
                    scopes[scope].append(tool)
    return {
        "connector": name,
        "tools": shown,
        "scopes": [
            {
                "scope": scope,
                "tools": [tool["tool"] for tool in found],
                "granted": any(tool["agents"] for tool in found),
                "uses": sum(tool["uses"] for tool in found),
                "last_used": _last(tool["last_used"] for tool in found),
            }
            for scope, found in sorted(scopes.items())
        ],
    }


def _tool(
    tool: Tool,
    agents: Sequence[AgentRow],
    used: Mapping[tuple[str, str], ToolUse],
) -> dict[str, Any]:
    holders = [one for one in agents if tool.name in one.tools]
    # Whoever used it and holds it no more still used it.
    uses = [one for (_, name), one in used.items() if name == tool.name]
    return {
        "tool": tool.name,
        "effect": tool.effect.value,
        "requests": [
            {
                "method": request.method,
                "path": request.path,
                "scopes": list(request.scopes),
            }
            for request in tool.requests
        ],
        "agents": [
            _held(agent, used.get((agent.agent_id, tool.name))) for agent in holders
        ],
        "uses": sum(one.uses for one in uses),
        "last_used": _last(write_moment(one.last_used) for one in uses),
    }


def _held(agent: AgentRow, use: ToolUse | None) -> dict[str, Any]:
    return {
        "id": agent.agent_id,
        "name": agent.name,
        "uses": use.uses if use else 0,
        "last_used": write_moment(use.last_used) if use else "",
    }


def _last(moments: Iterable[str]) -> str:
    return max(moments, default="")


def _tools(
    by_connector: Mapping[str, Sequence[Tool]],
    agents: Sequence[AgentRow],
    used: Mapping[tuple[str, str], ToolUse],
) -> Iterable[Drop]:
    for connector, tools in sorted(by_connector.items()):
        for tool in tools:
            holders = [one for one in agents if tool.name in one.tools]
            for agent in holders:
                if (agent.agent_id, tool.name) not in used:
                    yield Drop(
                        what="grant",
                        connector=connector,
                        tool=tool.name,
                        agent=agent.name,
                        scope="",
                        why=f"{agent.name} holds {tool.name} and has not used it",
                        how=f"counterfoil agents ungrant {agent.agent_id} {tool.name}",
                    )
            if not holders:
                yield Drop(
                    what="tool",
                    connector=connector,
                    tool=tool.name,
                    agent="",
                    scope="",
                    why=f"no active agent holds {tool.name}",
                    how="take it out of its use cases, and its manifest away",
                )


def _strays(agents: Sequence[AgentRow], known: set[str]) -> Iterable[Drop]:
    for agent in agents:
        for name in sorted(agent.tools - known):
            yield Drop(
                what="grant",
                connector="",
                tool=name,
                agent=agent.name,
                scope="",
                why=f"{agent.name} holds {name}, and there is no such tool",
                how=f"counterfoil agents ungrant {agent.agent_id} {name}",
            )


def _scopes(connector: Mapping[str, Any]) -> Iterable[Drop]:
    for scope in connector["scopes"]:
        if not scope["uses"]:
            name = connector["connector"]
            yield Drop(
                what="scope",
                connector=name,
                tool="",
                agent="",
                scope=scope["scope"],
                why=f"no tool that needs {scope['scope']} was used",
                how=f"ask the upstream for a credential of {name} without it",
            )
