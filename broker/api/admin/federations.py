"""Whose word counts for an agent, over HTTP: issuers of workload assertions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Depends, Request
from pydantic import Field

from broker.api.admin.registry import ReasonBody
from broker.api.bodies import documented, read
from broker.api.identity.changes import Why, save_agent, the_agent
from broker.api.identity.shown import agent_json
from broker.api.identity.widening.proposals import propose_agent
from broker.api.security import person, person_row
from broker.core.words.errors import InvalidError
from broker.core.words.subject import Caller
from broker.registry.agents import with_federation, without_federation
from broker.registry.federations import parse_federation
from broker.registry.people import check_may_narrow, check_may_widen
from broker.registry.reading import RowError

if TYPE_CHECKING:
    from broker.api.identity.desk import Desk

router = APIRouter(prefix="/v1/admin/agents", tags=["registry"])
Someone = Annotated[Caller, Depends(person)]


class FederateBody(ReasonBody):
    """Issuer, subject and keys, as the agent's signed row will hold them."""

    federation: dict[str, Any]


class UnfederateBody(ReasonBody):
    """The federation's name."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,63}$")


@router.post(
    "/{agent_id}/federate",
    status_code=202,
    summary="Ask for an issuer's word to count for an agent",
    openapi_extra=documented(FederateBody),
)
async def federate(request: Request, who: Someone, agent_id: str) -> dict[str, Any]:
    """Ask for one subject of one issuer to get this agent's tokens.

    A second person decides. The audience is ours, unless the body names another.
    """
    desk: Desk = request.app.state.desk
    actor = await person_row(desk, who)
    body = await read(request, FederateBody)
    agent = await the_agent(desk, agent_id)
    check_may_widen(actor, agent)
    try:
        federation = parse_federation({"audience": desk.issuer} | body.federation)
    except RowError as error:
        raise InvalidError(str(error), pointer="/federation") from None
    why = Why(actor, "agent.federate", body.reason)
    return await propose_agent(desk, with_federation(agent, federation), why)


@router.post(
    "/{agent_id}/unfederate",
    summary="Let an issuer's word no longer count for an agent",
    openapi_extra=documented(UnfederateBody),
)
async def unfederate(request: Request, who: Someone, agent_id: str) -> dict[str, Any]:
    """End it at once, and with it every token of the agent."""
    desk: Desk = request.app.state.desk
    actor = await person_row(desk, who)
    check_may_narrow(actor)
    body = await read(request, UnfederateBody)
    agent = await the_agent(desk, agent_id)
    why = Why(actor, "agent.unfederate", body.reason, narrows=True)
    changed = without_federation(agent, body.name)
    return agent_json(await save_agent(desk, changed, why))
