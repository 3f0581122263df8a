"""What must be there before an agent's row may say so: its owner and its use case."""

from __future__ import annotations

from typing import TYPE_CHECKING

from broker.core.words.errors import InvalidError
from broker.registry.reading import RowError
from broker.registry.use_cases import parse_use_case

if TYPE_CHECKING:
    from broker.api.identity.desk import Desk
    from broker.registry.agents import AgentRow


async def check_owner(desk: Desk, owner: str) -> None:
    """Require that the owner is an active person.

    Raises:
        InvalidError: They are not.
    """
    found = await desk.identities.person(owner)
    if found is None or not found.active:
        msg = "the owner must be an active person"
        raise InvalidError(msg, pointer="/owner")


async def check_use_case(desk: Desk, agent: AgentRow) -> None:
    """Require that the use case exists, has every tool of the agent, and its tier.

    A ceiling above what the use case reaches would lift the agent unseen on the day
    that the use case gets a tool of a higher tier.

    Raises:
        InvalidError: It does not, or has not.
    """
    row = await desk.registry.get("use_case", agent.use_case)
    try:
        use_case = parse_use_case(row) if row else None
    except RowError:
        use_case = None
    if use_case is None:
        msg = "there is no such use case"
        raise InvalidError(msg, pointer="/use_case")
    foreign = sorted(agent.tools - use_case.tools)
    if foreign:
        msg = f"{foreign[0]} is no tool of this use case"
        raise InvalidError(msg, pointer="/tools")
    reached = use_case.tier(desk.tools)
    if agent.tier_max > reached:
        msg = f"the tools of this use case reach tier {int(reached)} and no higher"
        raise InvalidError(msg, hint="register it with that", pointer="/tier_max")
