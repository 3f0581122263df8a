"""Keys past their age and identities that nobody uses: found, and said once a day.

Both are authority that nobody needs any more. Nothing is taken away here: that is for
people to do.
"""

from __future__ import annotations

from datetime import timedelta
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final

from broker.api.identity.evidence import entry_of
from broker.core.words.entry import EntryKind
from broker.core.words.identity import OneUse
from broker.core.words.moment import write_moment
from broker.registry.agents import AgentStatus, parse_agent
from broker.registry.keys.ages import Known, Stale, stale
from broker.registry.reading import RowError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from broker.api.identity.desk import Desk
    from broker.registry.agents import AgentRow
    from broker.registry.authority import AuthorityRow

ROWS_READ_MAX: Final = 200
"""How far back the rows of one agent are read to learn how old its keys are."""


async def found(desk: Desk) -> list[Stale]:
    """Return what is past its age or unused, by agent."""
    now = desk.clock.now()
    everything: list[Stale] = []
    for row in await desk.registry.list("agent"):
        try:
            agent = parse_agent(row)
        except RowError:
            continue
        if agent.status is not AgentStatus.REVOKED:
            everything += stale(await _known(desk, agent), now=now)
    return everything


async def tell(desk: Desk, alarm: Callable[[str, Mapping[str, object]], None]) -> int:
    """Say each finding once a day, in the log and to operators; return how many."""
    now, said = desk.clock.now(), 0
    for one in await found(desk):
        name = f"{one.what}\0{one.agent_id}\0{one.kid}\0{now:%Y-%m-%d}".encode()
        once = OneUse(sha256(name).digest(), now + timedelta(days=2))
        # Whichever replica is first: the others find it said.
        if not await desk.replay.first_ever(once):
            continue
        detail = stale_json(one) | {"alarm": one.what, "kind": "agent"}
        del detail["name"]
        await desk.journal.record(entry_of(desk, EntryKind.ALARM, detail))
        alarm(one.what, {"agent": one.agent_id, "kid": one.kid or None})
        said += 1
    return said


def stale_json(one: Stale) -> dict[str, Any]:
    """Return a finding as people see it."""
    return {
        "what": one.what,
        "id": one.agent_id,
        "name": one.name,
        "kid": one.kid or None,
        "since": write_moment(one.since),
        "days": one.days,
    }


async def _known(desk: Desk, agent: AgentRow) -> Known:
    """Return since when each key stands in its row, and when each was used last."""
    rows = await desk.registry.history("agent", agent.agent_id, limit=ROWS_READ_MAX)
    uses = await desk.identities.key_uses(f"agent:{agent.agent_id}")
    since = {}
    for row in rows:
        for kid in _kids(row):
            since[kid] = row.at
    return Known(
        agent_id=agent.agent_id,
        name=agent.name,
        registered_at=rows[-1].at,
        keys={slot.key.kid: since[slot.key.kid] for slot in agent.keys},
        used={kid: use.last_used for kid, use in uses.items()},
    )


def _kids(row: AuthorityRow) -> list[str]:
    return [str(key["kid"]) for key in row.body.get("keys", [])]
