"""Agents and people as JSON, for those who may look into the registry."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from broker.core.words.moment import write_moment
from broker.registry.federations import write_federation

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from broker.core.words.identity import RegisteredKey
    from broker.registry.agents import AgentRow
    from broker.registry.channels import ChannelRow
    from broker.registry.people import PersonRow
    from broker.registry.records import Instance, KeyUse


def agent_json(
    agent: AgentRow, uses: Mapping[str, KeyUse] | None = None
) -> dict[str, Any]:
    """Return an agent; with ``uses`` also when each of its keys was last used."""
    return {
        "id": agent.agent_id,
        "client_id": f"agent:{agent.agent_id}",
        "name": agent.name,
        "owner": agent.owner,
        "use_case": agent.use_case,
        "environment": agent.environment,
        "tier_max": agent.tier_max,
        "tools": sorted(agent.tools),
        "status": agent.status.value,
        "revision": agent.revision,
        "keys": [_key_json(slot, uses) for slot in agent.keys],
        "delegates": sorted(agent.delegates),
        "federations": [write_federation(one) for one in agent.federations],
    }


def person_json(
    person: PersonRow, uses: Mapping[str, KeyUse] | None = None
) -> dict[str, Any]:
    """Return a person; with ``uses`` also when each of their keys was last used."""
    return {
        "id": person.person_id,
        "client_id": f"person:{person.person_id}",
        "name": person.name,
        "roles": sorted(role.value for role in person.roles),
        "approval_limits": dict(person.limits),
        "status": person.status,
        "revision": person.revision,
        "keys": [_key_json(slot, uses) for slot in person.keys],
    }


def channel_json(channel: ChannelRow) -> dict[str, Any]:
    """Return a channel."""
    return {
        "id": channel.channel_id,
        "name": channel.name,
        "use_cases": sorted(channel.use_cases),
        "verification_max": channel.verification_max,
        "status": channel.status,
        "revision": channel.revision,
        "keys": [_key_json(slot, None) for slot in channel.keys],
    }


def instances_json(instances: Sequence[Instance]) -> list[dict[str, Any]]:
    """Return running copies, the latest seen first."""
    return [
        {
            "id": instance.instance_id,
            "jkt": instance.jkt,
            "first_seen": write_moment(instance.first_seen),
            "last_seen": write_moment(instance.last_seen),
            "tokens": instance.tokens,
        }
        for instance in instances
    ]


def _key_json(slot: RegisteredKey, uses: Mapping[str, KeyUse] | None) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "kid": slot.key.kid,
        "algorithm": slot.key.algorithm.value,
        "not_before": write_moment(slot.not_before) if slot.not_before else None,
        "not_after": write_moment(slot.not_after) if slot.not_after else None,
    }
    if uses is not None:
        use = uses.get(slot.key.kid)
        shown["last_used"] = write_moment(use.last_used) if use else None
    return shown
