"""The registry over HTTP, for people: agents and people, looked at and changed.

Widening needs a role and no interest in the matter; narrowing needs the role alone and
takes effect at once, also for what is already under way.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Depends, Request
from pydantic import Field

from broker.api.bodies import Body, documented, read
from broker.api.identity.changes import (
    Why,
    revoke_instance,
    save_agent,
    save_person,
    the_agent,
    the_person,
)
from broker.api.identity.shown import agent_json, instances_json, person_json
from broker.api.security import person, person_row
from broker.core.words.effect import Tier
from broker.core.words.errors import ConflictError, InvalidError, NotFoundError
from broker.core.words.subject import Caller
from broker.registry.agents import (
    AGENT_TOOLS_MAX,
    AgentRow,
    AgentStatus,
    parse_agent,
    with_status,
    with_tools,
)
from broker.registry.people import (
    PersonRow,
    Role,
    check_may_change_person,
    check_may_narrow,
    check_may_see,
    check_may_widen,
    parse_person,
)
from broker.registry.reading import NAME_CHARS_MAX, RowError, read_keys
from broker.registry.use_cases import parse_use_case

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


class PersonBody(ReasonBody):
    """A new person; ``key`` is the public JWK that they sign in and vote with."""

    name: str = _NAME
    roles: list[str] = Field(max_length=len(Role))
    approval_limits: dict[str, int] = Field(default={}, max_length=16)
    key: dict[str, Any]


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
    status_code=201,
    summary="Register an agent",
    openapi_extra=documented(AgentBody),
)
async def register_agent(request: Request, who: Someone) -> dict[str, Any]:
    """Register an agent with one owner, one use case, one key."""
    desk = _desk(request)
    actor = await person_row(desk, who)
    body = await read(request, AgentBody)
    agent = AgentRow(
        agent_id=desk.ids.new(),
        revision=0,
        environment=desk.environment,
        name=_printable(body.name),
        owner=body.owner,
        use_case=body.use_case,
        tier_max=body.tier_max,
        tools=frozenset(body.tools),
        keys=_keys(body.key),
        status=AgentStatus.ACTIVE,
    )
    check_may_widen(actor, agent)
    await _check_owner(desk, agent.owner)
    await _check_use_case(desk, agent)
    why = Why(actor, "agent.register", body.reason)
    return agent_json(await save_agent(desk, agent, why))


@router.post(
    "/agents/{agent_id}/grant",
    summary="Grant tools to an agent",
    openapi_extra=documented(ToolsBody),
)
async def grant(request: Request, who: Someone, agent_id: str) -> dict[str, Any]:
    """Grant tools of its use case to an agent."""
    desk = _desk(request)
    actor = await person_row(desk, who)
    body = await read(request, ToolsBody)
    agent = await the_agent(desk, agent_id)
    check_may_widen(actor, agent)
    changed = with_tools(agent, add=body.tools)
    await _check_use_case(desk, changed)
    why = Why(actor, "agent.grant", body.reason)
    return agent_json(await save_agent(desk, changed, why))


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
    summary="Resume a suspended agent",
    openapi_extra=documented(ReasonBody),
)
async def resume(request: Request, who: Someone, agent_id: str) -> dict[str, Any]:
    """Let a suspended agent act again; tokens of before stay void."""
    desk = _desk(request)
    actor = await person_row(desk, who)
    body = await read(request, ReasonBody)
    agent = await the_agent(desk, agent_id)
    check_may_widen(actor, agent)
    why = Why(actor, "agent.resume", body.reason)
    changed = with_status(agent, AgentStatus.ACTIVE)
    return agent_json(await save_agent(desk, changed, why))


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


@router.get("/people", summary="List people")
async def list_people(request: Request, who: Someone) -> dict[str, Any]:
    """Return everybody whose row verifies, by name."""
    desk = _desk(request)
    check_may_see(await person_row(desk, who))
    people = []
    for row in await desk.registry.list("person"):
        try:
            people.append(parse_person(row))
        except RowError:
            continue
    people.sort(key=lambda one: (one.name, one.person_id))
    return {"people": [person_json(one) for one in people]}


@router.get("/people/{person_id}", summary="Show a person")
async def show_person(request: Request, who: Someone, person_id: str) -> dict[str, Any]:
    """Return a person, and when their keys were used."""
    desk = _desk(request)
    check_may_see(await person_row(desk, who))
    found = await the_person(desk, person_id)
    return person_json(found, await desk.identities.key_uses(f"person:{person_id}"))


@router.post(
    "/people",
    status_code=201,
    summary="Add a person",
    openapi_extra=documented(PersonBody),
)
async def add_person(request: Request, who: Someone) -> dict[str, Any]:
    """Add a person with roles, limits and the key that they sign with."""
    desk = _desk(request)
    actor = await person_row(desk, who)
    body = await read(request, PersonBody)
    person_id = desk.ids.new()
    check_may_change_person(actor, person_id)
    unknown = sorted({*body.roles} - {*Role})
    if unknown:
        msg = f"roles are some of: {', '.join(Role)}"
        raise InvalidError(msg, pointer="/roles")
    added = PersonRow(
        person_id=person_id,
        revision=0,
        name=_printable(body.name),
        roles=frozenset(Role(role) for role in body.roles),
        limits=body.approval_limits,
        keys=_keys(body.key),
        active=True,
    )
    why = Why(actor, "person.add", body.reason)
    return person_json(await save_person(desk, added, why))


@router.post(
    "/people/{person_id}/suspend",
    summary="Suspend a person",
    openapi_extra=documented(ReasonBody),
)
async def suspend_person(
    request: Request, who: Someone, person_id: str
) -> dict[str, Any]:
    """Stop a person at once: they can neither sign in nor vote."""
    desk = _desk(request)
    actor = await person_row(desk, who)
    check_may_narrow(actor)
    body = await read(request, ReasonBody)
    found = await the_person(desk, person_id)
    if not found.active:
        msg = "this person is suspended already"
        raise ConflictError(msg)
    why = Why(actor, "person.suspend", body.reason, narrows=True)
    return person_json(await save_person(desk, replace(found, active=False), why))


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


async def _check_owner(desk: Desk, owner: str) -> None:
    found = await desk.identities.person(owner)
    if found is None or not found.active:
        msg = "the owner must be an active person"
        raise InvalidError(msg, pointer="/owner")


async def _check_use_case(desk: Desk, agent: AgentRow) -> None:
    """Require that the use case exists, has every tool of the agent, and its tier.

    A ceiling above what the use case reaches would lift the agent unseen on the day
    that the use case gets a tool of a higher tier.
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


def _keys(jwk: dict[str, Any]) -> tuple[RegisteredKey, ...]:
    kid = jwk.get("kid")
    try:
        return read_keys({"keys": [{"kid": kid, "jwk": jwk}]})
    except RowError as error:
        raise InvalidError(str(error), pointer="/key") from None


def _printable(name: str) -> str:
    if not name.isprintable():
        msg = "a name holds no line breaks and no control characters"
        raise InvalidError(msg, pointer="/name")
    return name


def _desk(request: Request) -> Desk:
    desk: Desk = request.app.state.desk
    return desk
