"""Who may act on whose authority, over HTTP: one agent for another of its use case."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Depends, Request
from pydantic import Field

from broker.api.admin.registry import ReasonBody
from broker.api.bodies import documented, read
from broker.api.identity.changes import Why, save_agent, the_agent
from broker.api.identity.shown import agent_json
from broker.api.identity.widening.proposals import DELEGATE, propose_agent
from broker.api.security import person, person_row
from broker.core.words.subject import Caller
from broker.registry.agents import with_delegate, without_delegate
from broker.registry.people import check_may_narrow, check_may_widen

if TYPE_CHECKING:
    from broker.api.identity.desk import Desk

router = APIRouter(prefix="/v1/admin/agents", tags=["registry"])
Someone = Annotated[Caller, Depends(person)]


class DelegateBody(ReasonBody):
    """The other agent, by id."""

    agent: str = Field(pattern=r"^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$")


@router.post(
    "/{agent_id}/delegate",
    status_code=202,
    summary="Ask for an agent to delegate to another one",
    openapi_extra=documented(DelegateBody),
)
async def delegate(request: Request, who: Someone, agent_id: str) -> dict[str, Any]:
    """Ask for another agent to act on this one's authority; a second person decides.

    It never gets more than both have. Whoever owns one of the two does not decide it.
    """
    desk: Desk = request.app.state.desk
    actor = await person_row(desk, who)
    body = await read(request, DelegateBody)
    agent, other = await the_agent(desk, agent_id), await the_agent(desk, body.agent)
    check_may_widen(actor, agent)
    check_may_widen(actor, other)
    why = Why(actor, DELEGATE, body.reason)
    return await propose_agent(desk, with_delegate(agent, other), why)


@router.post(
    "/{agent_id}/undelegate",
    summary="Let an agent no longer delegate to another one",
    openapi_extra=documented(DelegateBody),
)
async def undelegate(request: Request, who: Someone, agent_id: str) -> dict[str, Any]:
    """End it at once, and with it every token of the agent and what came of them."""
    desk: Desk = request.app.state.desk
    actor = await person_row(desk, who)
    check_may_narrow(actor)
    body = await read(request, DelegateBody)
    agent = await the_agent(desk, agent_id)
    why = Why(actor, "agent.undelegate", body.reason, narrows=True)
    changed = without_delegate(agent, body.agent)
    return agent_json(await save_agent(desk, changed, why))
