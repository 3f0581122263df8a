"""An agent's timeline over HTTP: what held from when to when, and what came of it."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, Final

from fastapi import APIRouter, Depends, Query, Request

from broker.api.identity.changes import the_agent
from broker.api.security import person, person_row
from broker.core.words.errors import InvalidError
from broker.core.words.moment import read_moment, write_moment
from broker.core.words.subject import Caller
from broker.registry.emergency import kill_switch
from broker.registry.people import check_may_see
from broker.watch.timeline import timeline

if TYPE_CHECKING:
    from broker.api.identity.desk import Desk

router = APIRouter(prefix="/v1/admin/agents", tags=["registry"])
Someone = Annotated[Caller, Depends(person)]
SEQ_MAX: Final = 2**53 - 1
TIMELINE_ROWS_MAX: Final = 1_000
"""Most revisions of an agent, and of the kill switch, that are shown: the latest."""


@router.get("/{agent_id}/timeline", summary="Show what an agent could do, and did")
async def show_timeline(
    request: Request,
    who: Someone,
    agent_id: str,
    entries_from: Annotated[
        int, Query(ge=0, le=SEQ_MAX, description="Position in the log to begin with.")
    ] = 0,
    actions_until: Annotated[
        str, Query(description="Moment of the latest action; empty for now.")
    ] = "",
) -> dict[str, Any]:
    """Return when authority began and ended, by whom, and what happened under it.

    ``seq`` is a position in the log: its proof shows that the entry was there.
    ``more`` says what was left out, and with which values of ``entries_from`` and
    ``actions_until`` it is read; null where nothing was.
    """
    desk: Desk = request.app.state.desk
    check_may_see(await person_row(desk, who))
    agent = await the_agent(desk, agent_id)
    history, most = desk.registry.history, TIMELINE_ROWS_MAX
    rows = await history("agent", agent_id, limit=most + 1)
    switch = await history(kill_switch.KIND, kill_switch.ROW_ID, limit=most)
    entries = await desk.past.entries(agent_id, first=entries_from)
    actions = await desk.past.actions(agent_id, until=_moment(actions_until))
    found = timeline(rows[:most][::-1], entries.rows, actions.rows, switch=switch[::-1])
    earlier = actions.more
    more = {
        "entries_from": entries.more,
        "actions_until": write_moment(earlier)
        if isinstance(earlier, datetime)
        else None,
        "revisions": len(rows) > most,
    }
    return found | {"name": agent.name, "owner": agent.owner, "more": more}


def _moment(text: str) -> datetime | None:
    try:
        return read_moment(text) if text else None
    except ValueError:
        msg = "actions_until is a moment like 2026-11-23T21:00:00.000000Z"
        raise InvalidError(msg, pointer="/actions_until") from None
