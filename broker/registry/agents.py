"""Agents: non-human identities, each with one owner, one use case, one environment."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from broker.core.authorize import AgentFacts
from broker.core.identity.assertions import KEY_SLOTS_MAX
from broker.core.identity.chain import Link
from broker.core.words.effect import Tier
from broker.core.words.errors import ConflictError, InvalidError
from broker.registry.federations import (
    FEDERATIONS_MAX,
    parse_federations,
    write_federation,
)
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
    from collections.abc import Iterable, Mapping
    from datetime import datetime

    from broker.core.identity.workload import Federation
    from broker.core.words.identity import RegisteredKey
    from broker.registry.authority import AuthorityRow

AGENT_TOOLS_MAX: Final = 200
DELEGATES_MAX: Final = 16
"""Agents that one agent may delegate to."""

OVERLAP_S_MAX: Final = 7 * 86_400
"""How long an agent's earlier key may still authenticate beside its new one."""

_FIELDS = frozenset(
    {
        "name", "owner", "use_case", "tier_max", "tools", "keys", "status", "delegates",
        "federations",
    }
)  # fmt: skip


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
    """What the newest signed row of an agent says.

    ``delegates`` are the agents that may act on its authority, by id; ``federations``
    the issuers whose word counts for it beside its own keys.
    """

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
    delegates: frozenset[str] = frozenset()
    federations: tuple[Federation, ...] = ()

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

    def link(self) -> Link:
        """Return what a chain of agents looks at."""
        return Link(self.agent_id, self.use_case, self.delegates)


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
        delegates=_delegates(body),
        federations=parse_federations(body),
    )


def agent_body(agent: AgentRow) -> dict[str, Any]:
    """Return the body that `parse_agent` reads."""
    more: dict[str, Any] = {}
    if agent.delegates:
        more["delegates"] = sorted(agent.delegates)
    if agent.federations:
        more["federations"] = [write_federation(one) for one in agent.federations]
    return more | {
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


def with_federation(agent: AgentRow, federation: Federation) -> AgentRow:
    """Return the agent with one more issuer whose word counts for it.

    Raises:
        ConflictError: It is revoked, or has one of this name or about this subject.
        InvalidError: There are FEDERATIONS_MAX already.
    """
    if agent.status is AgentStatus.REVOKED:
        msg = "the agent is revoked"
        raise ConflictError(msg)
    about = (federation.issuer, federation.subject)
    if any(
        one.name == federation.name or (one.issuer, one.subject) == about
        for one in agent.federations
    ):
        msg = "there is one of this name, or about this subject"
        raise ConflictError(msg)
    if len(agent.federations) >= FEDERATIONS_MAX:
        msg = f"an agent trusts up to {FEDERATIONS_MAX} of them"
        raise InvalidError(msg, pointer="/federation")
    return replace(agent, federations=(*agent.federations, federation))


def without_federation(agent: AgentRow, name: str) -> AgentRow:
    """Return the agent without one of its federations.

    Raises:
        ConflictError: It has none of this name.
    """
    left = tuple(one for one in agent.federations if one.name != name)
    if len(left) == len(agent.federations):
        msg = "nothing would change"
        raise ConflictError(msg)
    return replace(agent, federations=left)


def with_delegate(agent: AgentRow, delegate: AgentRow) -> AgentRow:
    """Return the agent with one more that may act on its authority.

    Raises:
        ConflictError: One of them is revoked, or it may already.
        InvalidError: It is itself, serves another use case, or there are too many.
    """
    if AgentStatus.REVOKED in {agent.status, delegate.status}:
        msg = "a revoked agent neither delegates nor is delegated to"
        raise ConflictError(msg)
    if delegate.agent_id in agent.delegates:
        msg = "nothing would change"
        raise ConflictError(msg)
    if delegate.agent_id == agent.agent_id or delegate.use_case != agent.use_case:
        msg = "an agent delegates to another one of its use case"
        raise InvalidError(msg, pointer="/agent")
    if len(agent.delegates) >= DELEGATES_MAX:
        msg = f"an agent delegates to up to {DELEGATES_MAX}"
        raise InvalidError(msg, pointer="/agent")
    return replace(agent, delegates=agent.delegates | {delegate.agent_id})


def without_delegate(agent: AgentRow, delegate_id: str) -> AgentRow:
    """Return the agent with one less that may act on its authority.

    Raises:
        ConflictError: It may not to begin with.
    """
    if delegate_id not in agent.delegates:
        msg = "nothing would change"
        raise ConflictError(msg)
    return replace(agent, delegates=agent.delegates - {delegate_id})


def with_tier(agent: AgentRow, tier_max: int) -> AgentRow:
    """Return the agent with another ceiling.

    Raises:
        ConflictError: The agent is revoked, or nothing would change.
    """
    if agent.status is AgentStatus.REVOKED:
        msg = "the agent is revoked"
        raise ConflictError(msg)
    if tier_max == agent.tier_max:
        msg = "nothing would change"
        raise ConflictError(msg)
    return replace(agent, tier_max=tier_max)


def with_new_key(
    agent: AgentRow, key: RegisteredKey, *, now: datetime, overlap_s: int
) -> AgentRow:
    """Return the agent with a new key; the present one ends after the overlap.

    Keys that have ended leave their slot.

    Raises:
        ConflictError: The agent is revoked, has this key, or both slots are in use:
            the end of an overlap is waited for, or the earlier key dropped.
        InvalidError: The overlap is not between 0 and OVERLAP_S_MAX seconds.
    """
    if agent.status is AgentStatus.REVOKED:
        msg = "the agent is revoked"
        raise ConflictError(msg)
    if not 0 <= overlap_s <= OVERLAP_S_MAX:
        msg = f"an overlap lasts from 0 to {OVERLAP_S_MAX} seconds"
        raise InvalidError(msg, pointer="/overlap_s")
    if any(slot.key.kid == key.key.kid for slot in agent.keys):
        msg = "the agent has this key"
        raise ConflictError(msg, hint="make a new one")
    standing = [s for s in agent.keys if s.not_after is None or s.not_after > now]
    if len(standing) >= KEY_SLOTS_MAX:
        msg = "both slots are in use"
        raise ConflictError(msg, hint="wait for the earlier key's end, or drop it")
    ends = now + timedelta(seconds=overlap_s)
    earlier = [
        replace(s, not_after=min(s.not_after, ends) if s.not_after else ends)
        for s in standing
    ]
    kept = earlier if overlap_s else []
    return replace(agent, keys=(*kept, key))


def without_key(agent: AgentRow, kid: str) -> AgentRow:
    """Return the agent without a key; tokens that it got end with it.

    Raises:
        ConflictError: It has no such key, or no other one.
    """
    left = tuple(slot for slot in agent.keys if slot.key.kid != kid)
    if len(left) == len(agent.keys):
        msg = "the agent has no such key"
        raise ConflictError(msg)
    if not left:
        msg = "this is the agent's only key"
        raise ConflictError(msg, hint="suspend or revoke the agent instead")
    return replace(agent, keys=left)


def _delegates(body: Mapping[str, Any]) -> frozenset[str]:
    """Return the ids of delegates; a row without the field has none."""
    if "delegates" not in body:
        return frozenset()
    ids = items(body, "delegates", count_max=DELEGATES_MAX)
    return frozenset(uuid({"delegates": one}, "delegates") for one in ids)
