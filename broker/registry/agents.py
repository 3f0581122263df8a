"""Agents: non-human identities, each with one owner, one use case, one environment."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from broker.core.authorize import AgentFacts
from broker.core.words.effect import Tier
from broker.core.words.errors import ConflictError, InvalidError
from broker.registry.reading import (
    items,
    natural_id,
    number,
    only,
    person_name,
    read_keys,
    uuid,
    word,
    write_keys,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from broker.core.words.identity import RegisteredKey
    from broker.registry.authority import AuthorityRow

AGENT_TOOLS_MAX: Final = 200

_FIELDS = frozenset(
    {"name", "owner", "use_case", "tier_max", "tools", "keys", "status"}
)


class AgentStatus(StrEnum):
    """Whether an agent may act; ``REVOKED`` is an end."""

    ACTIVE = "active"
    SUSPENDED = "suspended"
    REVOKED = "revoked"


_MOVES = {
    AgentStatus.ACTIVE: {AgentStatus.SUSPENDED, AgentStatus.REVOKED},
    AgentStatus.SUSPENDED: {AgentStatus.ACTIVE, AgentStatus.REVOKED},
    AgentStatus.REVOKED: set[AgentStatus](),
}


@dataclass(frozen=True, slots=True)
class AgentRow:
    """What the newest signed row of an agent says."""

    agent_id: str
    revision: int
    environment: str
    name: str
    owner: str
    use_case: str
    tier_max: int
    tools: frozenset[str]
    keys: tuple[RegisteredKey, ...]
    status: AgentStatus

    @property
    def active(self) -> bool:
        """Return whether this agent may act."""
        return self.status is AgentStatus.ACTIVE

    def facts(self) -> AgentFacts:
        """Return what a policy is told about this agent."""
        return AgentFacts(
            agent_id=self.agent_id,
            owner=self.owner,
            use_case=self.use_case,
            environment=self.environment,
            tier_max=self.tier_max,
            tools=self.tools,
        )


def parse_agent(row: AuthorityRow) -> AgentRow:
    """Read an agent out of a verified row.

    Raises:
        RowError: A field is missing, unknown or out of range.
    """
    body = row.body
    only(body, _FIELDS)
    return AgentRow(
        agent_id=row.row_id,
        revision=row.revision,
        environment=row.environment,
        name=person_name(body),
        owner=uuid(body, "owner"),
        use_case=natural_id(body, "use_case"),
        tier_max=number(body, "tier_max", low=min(Tier), high=max(Tier)),
        tools=frozenset(items(body, "tools", count_max=AGENT_TOOLS_MAX)),
        keys=read_keys(body),
        status=AgentStatus(word(body, "status", {*AgentStatus})),
    )


def agent_body(agent: AgentRow) -> dict[str, Any]:
    """Return the body that `parse_agent` reads."""
    return {
        "name": agent.name,
        "owner": agent.owner,
        "use_case": agent.use_case,
        "tier_max": agent.tier_max,
        "tools": sorted(agent.tools),
        "keys": write_keys(agent.keys),
        "status": agent.status.value,
    }


def with_status(agent: AgentRow, status: AgentStatus) -> AgentRow:
    """Return the agent with another status.

    Raises:
        ConflictError: It is not to be had from the present one: revoked stays revoked.
    """
    if status not in _MOVES[agent.status]:
        msg = f"the agent is {agent.status.value} and cannot become {status.value}"
        raise ConflictError(msg)
    return replace(agent, status=status)


def with_tools(
    agent: AgentRow, *, add: Iterable[str] = (), drop: Iterable[str] = ()
) -> AgentRow:
    """Return the agent with tools granted or taken away.

    Raises:
        ConflictError: The agent is revoked, or nothing would change.
        InvalidError: It would have more than AGENT_TOOLS_MAX.
    """
    tools = (agent.tools | {*add}) - {*drop}
    if agent.status is AgentStatus.REVOKED:
        msg = "the agent is revoked"
        raise ConflictError(msg)
    if tools == agent.tools:
        msg = "nothing would change"
        raise ConflictError(msg)
    if len(tools) > AGENT_TOOLS_MAX:
        msg = f"an agent has up to {AGENT_TOOLS_MAX} tools"
        raise InvalidError(msg, pointer="/tools")
    return replace(agent, tools=tools)
