"""What budgets and rates count of one action, and for whom."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from broker.core.identity import chain
from broker.core.words.budget import CappedObject, LimitFacts
from broker.core.words.effect import Effect
from broker.core.words.money import Money

if TYPE_CHECKING:
    from broker.core.words.action import ActionRequest, Bound, Requester
    from broker.core.words.subject import Caller, Interaction
    from broker.core.words.tool import Tool
    from broker.ports import Ports


def charged(request: ActionRequest, facts: LimitFacts) -> LimitFacts:
    """Charge what a person orders to that person, where others are charged to an agent.

    What an agent used up, hijacked or not, must not keep it from being taken back.
    """
    by = request.asked_by
    return replace(facts, agent_id=f"person:{by}", chain=()) if by else facts


async def facts_of(
    ports: Ports,
    tool: Tool,
    bound: Bound,
    interaction: Interaction,
    requester: Requester,
) -> LimitFacts:
    """Return what an action of this requester is counted by."""
    kinds = {o.kind for o in tool.binding.objects if o.cap}
    named = [
        (tool.connector, kind, name) for kind, name in bound.objects if kind in kinds
    ]
    ceilings = await ports.handles.ceilings(named) if named else {}
    return LimitFacts(
        tenant=interaction.tenant,
        environment=interaction.environment,
        use_case=interaction.use_case,
        agent_id=requester.agent_id,
        chain=above(requester),
        counts=requester.counts,
        tool=tool.name,
        customer_ref=interaction.customer_ref,
        amount=bound.amount,
        connector=tool.connector,
        reads=tool.effect is Effect.READ,
        objects=tuple(
            CappedObject(
                kind=key[1],
                ref=ports.vault.reference("object", *key),
                ceiling=_ceiling(bound, ceilings.get(key)),
            )
            for key in named
        ),
    )


def _ceiling(bound: Bound, units: int | None) -> Money | None:
    if units is None or bound.amount is None:
        return None
    return Money(units, bound.amount.currency)


def above(who: Caller | Requester) -> tuple[str, ...]:
    """Return the agents on whose authority somebody acts, the nearest first."""
    return chain.agents_of(who.principal, who.actors)[1:]
