"""Token exchange: what a delegated token may say, given what it is made from.

On every axis (tools, amount, customer, interaction, tier, count, time) a child has no
more than its parent, and no more than the signed row of whoever gets it. It is bound to
the child's own key, keeps the parent's grant id, and names every scope that could void
the parent: whoever ends the parent ends the child.

Source: RFC 8693; RFC 8707 section 2; RFC 9396 section 6.1.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from broker.core.identity.chain import ACTORS_MAX
from broker.core.identity.grants import (
    GRANT_TOOLS_MAX,
    GrantError,
    granted_tools,
    narrow,
)
from broker.core.words.effect import Tier
from broker.core.words.subject import Epochs, Grant

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from collections.abc import Set as AbstractSet
    from datetime import datetime

    from broker.core.words.identity import AccessToken

CHILD_TTL_S_MAX: Final = 120
"""Longest life of a delegated token; it never outlives its parent."""


class ChainError(ValueError):
    """A chain that may not be made: too deep, or an agent stands in it twice."""


@dataclass(frozen=True, slots=True)
class Ceiling:
    """What a signed row lets an agent be granted at all."""

    tools: AbstractSet[str]
    tier_max: int


def child_grant(parent: Grant, *, rows: Sequence[Ceiling], asked: Grant) -> Grant:
    """Return what parent, rows and request leave together, with its tools by name.

    Args:
        parent: What the parent's token allows; everything, for a person or customer.
        rows: The ceilings of the agents that have a part in it.
        asked: What the child asks for.

    Raises:
        GrantError: Nothing is left, or more than GRANT_TOOLS_MAX tools.
    """
    grant = narrow(parent, asked)
    tools = frozenset.intersection(*(granted_tools(grant, row.tools) for row in rows))
    if not tools:
        msg = "no tool is left"
        raise GrantError(msg)
    if len(tools) > GRANT_TOOLS_MAX:
        msg = f"name up to {GRANT_TOOLS_MAX} tools"
        raise GrantError(msg)
    tier = min(grant.tier_max or max(Tier), *(row.tier_max for row in rows), max(Tier))
    return replace(grant, tools=tools, tier_max=int(tier))


def child_end(parent_ends: datetime | None, *, now: datetime) -> datetime:
    """Return when a child ends: with its parent, and after CHILD_TTL_S_MAX at most."""
    latest = now.replace(microsecond=0) + timedelta(seconds=CHILD_TTL_S_MAX)
    return latest if parent_ends is None else min(latest, parent_ends)


def child_chain(
    holder: str, *, principal: str, actors: Sequence[str]
) -> tuple[str, ...]:
    """Return the actors of a chain that gets one link more.

    Args:
        holder: Who will act, as ``agent:<id>``.
        principal: On whose authority.
        actors: Who acts until now, the current one first.

    Raises:
        ChainError: It would be deeper than ACTORS_MAX, or go in a circle.
    """
    if holder in {principal, *actors}:
        msg = "an agent cannot act for itself, nor twice in one chain"
        raise ChainError(msg)
    if len(actors) >= ACTORS_MAX:
        msg = f"a chain has up to {ACTORS_MAX} actors"
        raise ChainError(msg)
    return (holder, *actors)


def child_epochs(parent: Epochs, current: Mapping[str, int]) -> Epochs:
    """Return the scopes of both; what the parent was issued under is kept.

    A scope that moved since the parent was issued voids the child at birth.
    """
    return Epochs(tuple(sorted({**current, **dict(parent.scopes)}.items())))


def child_counts(
    parent: AccessToken | None, grant: Grant, *, name: str
) -> tuple[tuple[str, int], ...]:
    """Return the counts that an action under the child is charged to.

    Its own, and every one above it: what a child uses is used up for its parent.
    """
    above = parent.counts if parent is not None else ()
    own = ((name, grant.count_max),) if grant.count_max is not None else ()
    return tuple(sorted((*above, *own)))
