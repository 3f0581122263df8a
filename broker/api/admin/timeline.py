"""An agent's timeline over HTTP: what held from when to when, and what came of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final

from fastapi import APIRouter, Depends, Request

from broker.api.identity.changes import the_agent
from broker.api.security import person, person_row
from broker.core.words.subject import Caller
from broker.registry.emergency import kill_switch
from broker.registry.people import check_may_see
from broker.watch.timeline import timeline

if TYPE_CHECKING:
    from broker.api.identity.desk import Desk

router = APIRouter(prefix="/v1/admin/agents", tags=["registry"])
Someone = Annotated[Caller, Depends(person)]
TIMELINE_ROWS_MAX: Final = 1_000
"""Most revisions of an agent, and of the kill switch, that are shown: the latest."""


@router.get("/{agent_id}/timeline", summary="Show what an agent could do, and did")
async def show_timeline(
    request: Request, who: Someone, agent_id: str
) -> dict[str, Any]:
    """Return when authority began and ended, by whom, and what happened under it.

    ``seq`` is a position in the log: its proof shows that the entry was there.
    """
    desk: Desk = request.app.state.desk
    check_may_see(await person_row(desk, who))
    agent = await the_agent(desk, agent_id)
    history = desk.registry.history
    rows = await history("agent", agent_id, limit=TIMELINE_ROWS_MAX)
    switch = await history(
        kill_switch.KIND, kill_switch.ROW_ID, limit=TIMELINE_ROWS_MAX
    )
    found = timeline(
        rows[::-1],
        await desk.past.entries(agent_id),
        await desk.past.actions(agent_id),
        switch=switch[::-1],
    )
    return found | {"name": agent.name, "owner": agent.owner}
