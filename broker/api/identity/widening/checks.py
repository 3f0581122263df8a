"""What must be so before a row may say so: its owner, its use case, its keys."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from broker.core.words.errors import InvalidError
from broker.registry.reading import RowError, read_keys
from broker.registry.use_cases import parse_use_case

if TYPE_CHECKING:
    from collections.abc import Mapping

    from broker.api.identity.desk import Desk
    from broker.registry.agents import AgentRow

_HOLDERS: Final = ("agent", "channel", "person", "service")


async def check_keys(
    desk: Desk, kind: str, row_id: str, body: Mapping[str, Any]
) -> None:
    """Require that nobody else has one of these keys.

    Two identities with one key are one party under two names: nobody could tell whose
    signature it was, and one person could say yes to what they asked for themselves.

    Raises:
        InvalidError: Somebody has.
    """
    wanted = {slot.key.kid for slot in read_keys(body)}
    for holder in _HOLDERS:
        for row in await desk.registry.list(holder):
            try:
                theirs = {slot.key.kid for slot in read_keys(row.body)}
            except RowError:
                continue
            if (row.kind, row.row_id) != (kind, row_id) and theirs & wanted:
                msg = "somebody else has this key"
                raise InvalidError(msg, hint="make a new one", pointer="/key")


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
