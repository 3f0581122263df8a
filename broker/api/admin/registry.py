"""The registry over HTTP, for people: agents and people, looked at and changed.

Widening needs a role and no interest in the matter; narrowing needs the role alone and
takes effect at once, also for what is already under way.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Depends, Request, Response
from pydantic import Field

from broker.api.bodies import Body, documented, read
from broker.api.identity.changes import (
    Why,
    revoke_instance,
    save_agent,
    the_agent,
)
from broker.api.identity.shown import agent_json, instances_json, person_json
from broker.api.identity.widening import checks
from broker.api.identity.widening.proposals import propose_agent
from broker.api.security import person, person_row
from broker.core.words.effect import Tier
from broker.core.words.errors import InvalidError, NotFoundError
from broker.core.words.subject import Caller
from broker.registry.agents import (
    AGENT_TOOLS_MAX,
    AgentRow,
    AgentStatus,
    parse_agent,
    with_status,
    with_tier,
    with_tools,
)
from broker.registry.people import (
    check_may_narrow,
    check_may_see,
    check_may_widen,
)
from broker.registry.reading import NAME_CHARS_MAX, RowError, read_keys

if TYPE_CHECKING:
    from broker.api.identity.desk import Desk
    from broker.core.words.identity import RegisteredKey

router = APIRouter(prefix="/v1/admin", tags=["registry"])
REASON_CHARS_MAX = 200
Someone = Annotated[Caller, Depends(person)]

_UUID = r"^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$"
_TOOL = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_.]{1,63}$")]
_NAME = Field(min_length=1, max_length=NAME_CHARS_MAX)


class ReasonBody(Body):
    """Why; without personal data, because it stands in the log for good."""

    reason: str = Field(default="", max_length=REASON_CHARS_MAX)


class ToolsBody(ReasonBody):
    """Tools to grant or to take away."""

    tools: list[_TOOL] = Field(min_length=1, max_length=AGENT_TOOLS_MAX)


class AgentBody(ReasonBody):
    """A new agent; ``key`` is the public JWK that it authenticates with."""

    name: str = _NAME
    owner: str = Field(pattern=_UUID)
    use_case: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,63}$")
    tier_max: int = Field(ge=min(Tier), le=max(Tier))
    tools: list[_TOOL] = Field(max_length=AGENT_TOOLS_MAX)
    key: dict[str, Any]


class CeilingBody(ReasonBody):
    """The highest tier that an agent may reach."""

    tier_max: int = Field(ge=min(Tier), le=max(Tier))


@router.get("/me", summary="Who am I here?")
async def me(request: Request, who: Someone) -> dict[str, Any]:
    """Return the signed row of the person who asks."""
    return person_json(await person_row(_desk(request), who))


@router.get("/agents", summary="List agents")
async def list_agents(request: Request, who: Someone) -> dict[str, Any]:
    """Return every agent whose row verifies, by name."""
    desk = _desk(request)
    check_may_see(await person_row(desk, who))
    agents = []
    for row in await desk.registry.list("agent"):
        try:
            agents.append(parse_agent(row))
        except RowError:
            continue
    agents.sort(key=lambda agent: (agent.name, agent.agent_id))
    return {"agents": [agent_json(agent) for agent in agents]}


@router.get("/agents/{agent_id}", summary="Show an agent")
async def show_agent(request: Request, who: Someone, agent_id: str) -> dict[str, Any]:
    """Return an agent, when its keys were used, and its running instances."""
    desk = _desk(request)
    check_may_see(await person_row(desk, who))
    agent = await the_agent(desk, agent_id)
    subject = f"agent:{agent_id}"
    shown = agent_json(agent, await desk.identities.key_uses(subject))
    shown["instances"] = instances_json(await desk.identities.instances(subject))
    return shown


@router.post(
    "/agents",
    status_code=202,
    summary="Ask for an agent to be registered",
    openapi_extra=documented(AgentBody),
)
async def register_agent(request: Request, who: Someone) -> dict[str, Any]:
    """Ask for an agent with one owner, use case and key; a second person decides."""
    desk = _desk(request)
    actor = await person_row(desk, who)
    body = await read(request, AgentBody)
    agent = AgentRow(
        agent_id=desk.ids.new(),
        revision=0,
        environment=desk.environment,
        name=printable(body.name),
        owner=body.owner,
        use_case=body.use_case,
        tier_max=body.tier_max,
        tools=frozenset(body.tools),
        keys=keys_of(body.key),
        status=AgentStatus.ACTIVE,
    )
    check_may_widen(actor, agent)
    await checks.check_owner(desk, agent.owner)
    await checks.check_use_case(desk, agent)
    why = Why(actor, "agent.register", body.reason)
    return await propose_agent(desk, agent, why)


@router.post(
    "/agents/{agent_id}/grant",
    status_code=202,
    summary="Ask for tools to be granted to an agent",
    openapi_extra=documented(ToolsBody),
)
async def grant(request: Request, who: Someone, agent_id: str) -> dict[str, Any]:
    """Ask for tools of its use case; a second person decides."""
    desk = _desk(request)
    actor = await person_row(desk, who)
    body = await read(request, ToolsBody)
    agent = await the_agent(desk, agent_id)
    check_may_widen(actor, agent)
    changed = with_tools(agent, add=body.tools)
    await checks.check_use_case(desk, changed)
    return await propose_agent(desk, changed, Why(actor, "agent.grant", body.reason))


@router.post(
    "/agents/{agent_id}/ungrant",
    summary="Take tools from an agent",
    openapi_extra=documented(ToolsBody),
)
async def ungrant(request: Request, who: Someone, agent_id: str) -> dict[str, Any]:
    """Take tools from an agent, and end the tokens that were issued with them."""
    desk = _desk(request)
    actor = await person_row(desk, who)
    check_may_narrow(actor)
    body = await read(request, ToolsBody)
    agent = await the_agent(desk, agent_id)
    why = Why(actor, "agent.ungrant", body.reason, narrows=True)
    changed = with_tools(agent, drop=body.tools)
    return agent_json(await save_agent(desk, changed, why))


@router.post(
    "/agents/{agent_id}/suspend",
    summary="Suspend an agent",
    openapi_extra=documented(ReasonBody),
)
async def suspend(request: Request, who: Someone, agent_id: str) -> dict[str, Any]:
    """Stop an agent at once; it can be resumed."""
    return await _narrow(request, who, agent_id, AgentStatus.SUSPENDED)


@router.post(
    "/agents/{agent_id}/revoke",
    summary="Revoke an agent",
    openapi_extra=documented(ReasonBody),
)
async def revoke(request: Request, who: Someone, agent_id: str) -> dict[str, Any]:
    """End an agent for good, at once, and with it everything that it has pending."""
    return await _narrow(request, who, agent_id, AgentStatus.REVOKED)


@router.post(
    "/agents/{agent_id}/resume",
    status_code=202,
    summary="Ask for a suspended agent to be resumed",
    openapi_extra=documented(ReasonBody),
)
async def resume(request: Request, who: Someone, agent_id: str) -> dict[str, Any]:
    """Ask for a suspended agent to act again; its tokens of before stay void."""
    desk = _desk(request)
    actor = await person_row(desk, who)
    body = await read(request, ReasonBody)
    agent = await the_agent(desk, agent_id)
    check_may_widen(actor, agent)
    changed = with_status(agent, AgentStatus.ACTIVE)
    return await propose_agent(desk, changed, Why(actor, "agent.resume", body.reason))


@router.post(
    "/agents/{agent_id}/ceiling",
    summary="Lower an agent's ceiling, or ask for a higher one",
    openapi_extra=documented(CeilingBody),
    responses={202: {"description": "A higher one waits for a second person."}},
)
async def ceiling(
    request: Request, who: Someone, agent_id: str, response: Response
) -> dict[str, Any]:
    """Lower the highest tier at once, or ask for a higher one."""
    desk = _desk(request)
    actor = await person_row(desk, who)
    check_may_narrow(actor)
    body = await read(request, CeilingBody)
    agent = await the_agent(desk, agent_id)
    changed = with_tier(agent, body.tier_max)
    lower = changed.tier_max < agent.tier_max
    why = Why(actor, "agent.ceiling", body.reason, narrows=lower)
    if lower:
        return agent_json(await save_agent(desk, changed, why))
    check_may_widen(actor, agent)
    await checks.check_use_case(desk, changed)
    response.status_code = 202
    return await propose_agent(desk, changed, why)


@router.post(
    "/agents/{agent_id}/instances/{instance_id}/revoke",
    summary="Revoke one instance of an agent",
    openapi_extra=documented(ReasonBody),
)
async def end_instance(
    request: Request, who: Someone, agent_id: str, instance_id: str
) -> dict[str, Any]:
    """End one running copy; the others go on."""
    desk = _desk(request)
    actor = await person_row(desk, who)
    check_may_narrow(actor)
    body = await read(request, ReasonBody)
    agent = await the_agent(desk, agent_id)
    known = await desk.identities.instances(f"agent:{agent_id}")
    if instance_id not in {instance.instance_id for instance in known}:
        msg = "this agent has no such instance"
        raise NotFoundError(msg)
    why = Why(actor, "instance.revoke", body.reason, narrows=True)
    await revoke_instance(desk, agent, instance_id, why)
    return {"id": instance_id, "status": "revoked"}


async def _narrow(
    request: Request, who: Caller, agent_id: str, status: AgentStatus
) -> dict[str, Any]:
    desk = _desk(request)
    actor = await person_row(desk, who)
    check_may_narrow(actor)
    body = await read(request, ReasonBody)
    agent = await the_agent(desk, agent_id)
    what = {AgentStatus.SUSPENDED: "agent.suspend", AgentStatus.REVOKED: "agent.revoke"}
    why = Why(actor, what[status], body.reason, narrows=True)
    return agent_json(await save_agent(desk, with_status(agent, status), why))


def keys_of(jwk: dict[str, Any]) -> tuple[RegisteredKey, ...]:
    """Return one public JWK as the keys of a new row.

    Raises:
        InvalidError: It is none.
    """
    kid = jwk.get("kid")
    try:
        return read_keys({"keys": [{"kid": kid, "jwk": jwk}]})
    except RowError as error:
        raise InvalidError(str(error), pointer="/key") from None


def printable(name: str) -> str:
    """Return a name that cannot forge a line.

    Raises:
        InvalidError: It could.
    """
    if not name.isprintable():
        msg = "a name holds no line breaks and no control characters"
        raise InvalidError(msg, pointer="/name")
    return name


def _desk(request: Request) -> Desk:
    desk: Desk = request.app.state.desk
    return desk
