"""What connectors ask for, what was granted and what was used, for people."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Depends, Query, Request

from broker.api.security import person, person_row
from broker.core.words.subject import Caller
from broker.registry.agents import parse_agent
from broker.registry.kit.permissions import DAYS_MAX, report
from broker.registry.people import check_may_see
from broker.registry.reading import RowError

if TYPE_CHECKING:
    from broker.api.identity.desk import Desk

router = APIRouter(prefix="/v1/admin", tags=["registry"])


@router.get("/permissions", summary="Compare what is asked, granted and used")
async def permissions(
    request: Request,
    who: Annotated[Caller, Depends(person)],
    days: Annotated[int, Query(ge=1, le=DAYS_MAX)] = 90,
) -> dict[str, Any]:
    """Return per connector what its tools ask for, who holds them, and last uses."""
    desk: Desk = request.app.state.desk
    check_may_see(await person_row(desk, who))
    since = desk.clock.now() - timedelta(days=days)
    agents = []
    for row in await desk.registry.list("agent"):
        try:
            agents.append(parse_agent(row))
        except RowError:
            continue
    uses = await desk.identities.tool_uses(desk.tenant, desk.environment, since=since)
    return report(desk.tools, agents, uses, since=since)
