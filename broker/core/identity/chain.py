"""Chains: on whose authority an agent acts, and through which other agents.

A token of an agent's own has no chain. A delegated one names its *principal* (``sub``:
an agent, an employee or a customer) and its *actors* (``act``, the current one first).
The first of those agents, the *root*, is the one that the conversation belongs to; each
further one was registered as somebody whom the one before may delegate to.

Source: RFC 8693 sections 1.1 and 4.1.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from broker.core.words.action import Requester
    from broker.core.words.subject import Caller

ACTORS_MAX: Final = 3
"""Deepest chain: how many parties may act one for another."""

_AGENT = re.compile(r"agent:([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})")
_PRINCIPAL = re.compile(
    r"(agent|person):([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})"
    r"|(customer):([A-Za-z0-9._-]{1,128})"
)


@dataclass(frozen=True, slots=True)
class Link:
    """What the signed row of one agent of a chain says; see `broken`."""

    agent_id: str
    use_case: str
    delegates: frozenset[str]


def parse_agent(subject: str) -> str:
    """Return the id in ``agent:<id>``, empty for any other subject."""
    match = _AGENT.fullmatch(subject)
    return match[1] if match else ""


def parse_principal(subject: str) -> tuple[str, str] | None:
    """Return kind and id of a principal, or None if it is none."""
    match = _PRINCIPAL.fullmatch(subject)
    return (match[1] or match[3], match[2] or match[4]) if match else None


def agents_of(principal: str, actors: Sequence[str]) -> tuple[str, ...]:
    """Return the ids of the agents of a chain, the current actor first, the root last.

    Nothing is returned for a caller that acts on its own authority.
    """
    if not actors:
        return ()
    subjects = (*actors, principal)
    return tuple(agent for one in subjects if (agent := parse_agent(one)))


def behalf_of(principal: str) -> str:
    """Return the kind of a principal, empty if there is none."""
    return principal.partition(":")[0]


def person_of(principal: str) -> str:
    """Return the id of a principal that is a person, else nothing."""
    kind, _, subject_id = principal.partition(":")
    return subject_id if kind == "person" else ""


def root_of(agent_id: str, *, principal: str, actors: Sequence[str]) -> str:
    """Return the agent whose conversations a caller acts in.

    Args:
        agent_id: The current actor.
        principal: On whose authority, empty for its own.
        actors: Who acts, the current one first.
    """
    return (agent_id, *agents_of(principal, actors))[-1]


def delegation_of(who: Caller | Requester) -> dict[str, Any]:
    """Return what entries and cards say of a chain, nothing if there is none."""
    if not who.actors:
        return {}
    return {"delegation": {"principal": who.principal, "actors": list(who.actors)}}


def is_part_of(who: Caller, of: Requester) -> bool:
    """Return whether a caller may look at what somebody asked for: its own, and below.

    Who lent authority sees what was done with it. Who acts on borrowed authority sees
    what was done in the same root's name, and nothing of its own other business.
    """
    mine = (of.agent_id, *agents_of(of.principal, of.actors))
    if who.subject_id not in mine:
        return False
    if not who.actors:
        return True
    root = root_of(who.subject_id, principal=who.principal, actors=who.actors)
    return root == mine[-1]


def broken(links: Sequence[Link | None]) -> str:
    """Return why a chain of agents does not stand now, or nothing if it does.

    Args:
        links: The signed rows, the current actor first; None for an agent that is not
            active. One agent alone always stands.
    """
    rows = [link for link in links if link is not None]
    if len(rows) < len(links):
        return "an agent of the chain is not active"
    if len({link.agent_id for link in rows}) != len(rows):
        return "an agent stands twice in the chain"
    if len({link.use_case for link in rows}) > 1:
        return "the agents of a chain serve one use case"
    for child, parent in pairwise(rows):
        if child.agent_id not in parent.delegates:
            return "an agent may not delegate to the next one"
    return ""
