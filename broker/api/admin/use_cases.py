"""Use cases over HTTP, for people: which tools their agents may be granted."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Depends, Request

from broker.api.admin.registry import ToolsBody
from broker.api.bodies import documented, read
from broker.api.identity.changes import Why, save_row
from broker.api.security import person, person_row
from broker.core.words.errors import ConflictError, InvalidError, NotFoundError
from broker.core.words.subject import Caller
from broker.registry.agents import parse_agent
from broker.registry.people import (
    check_may_change_use_case,
    check_may_narrow,
    check_may_see,
)
from broker.registry.reading import RowError
from broker.registry.use_cases import UseCaseRow, parse_use_case, use_case_body

if TYPE_CHECKING:
    from broker.api.identity.desk import Desk

router = APIRouter(prefix="/v1/admin/use-cases", tags=["registry"])
Someone = Annotated[Caller, Depends(person)]
KIND = "use_case"


@router.get("", summary="List use cases")
async def list_use_cases(request: Request, who: Someone) -> dict[str, Any]:
    """Return every use case with its owner, its tools, and the tier they reach."""
    desk: Desk = request.app.state.desk
    check_may_see(await person_row(desk, who))
    found = []
    for row in await desk.registry.list(KIND):
        try:
            found.append(_json(desk, parse_use_case(row)))
        except RowError:
            continue
    return {"use_cases": found}


@router.post(
    "/{use_case}/add-tools",
    summary="Let agents of a use case be granted more tools",
    openapi_extra=documented(ToolsBody),
)
async def add_tools(request: Request, who: Someone, use_case: str) -> dict[str, Any]:
    """Add tools that are loaded; no agent has them by it until it is granted them.

    It needs security or an administrator who does not answer for the use case.
    """
    desk: Desk = request.app.state.desk
    actor = await person_row(desk, who)
    now = await _the_use_case(desk, use_case)
    check_may_change_use_case(actor, owner=now.owner)
    body = await read(request, ToolsBody)
    unknown = sorted({*body.tools} - {tool.name for tool in desk.tools})
    if unknown:
        msg = f"there is no tool {unknown[0]} in the catalogue that is loaded"
        hint = "confirm it, and start broker, runner and edge anew"
        raise InvalidError(msg, hint=hint, pointer="/tools")
    why = Why(actor, "use_case.add_tools", body.reason)
    return await _save(desk, replace(now, tools=now.tools | {*body.tools}), why)


@router.post(
    "/{use_case}/drop-tools",
    summary="Take tools from a use case that no agent of it holds",
    openapi_extra=documented(ToolsBody),
)
async def drop_tools(request: Request, who: Someone, use_case: str) -> dict[str, Any]:
    """Take tools from a use case; agents that hold one must be ungranted it first."""
    desk: Desk = request.app.state.desk
    actor = await person_row(desk, who)
    check_may_narrow(actor)
    now = await _the_use_case(desk, use_case)
    body = await read(request, ToolsBody)
    for row in await desk.registry.list("agent"):
        try:
            agent = parse_agent(row)
        except RowError:
            continue
        held = sorted(agent.tools & {*body.tools})
        if agent.use_case == use_case and held:
            msg = f"an agent of this use case holds {held[0]}"
            hint = f"counterfoil agents ungrant {agent.agent_id} {held[0]}"
            raise ConflictError(msg, hint=hint)
    why = Why(actor, "use_case.drop_tools", body.reason)
    return await _save(desk, replace(now, tools=now.tools - {*body.tools}), why)


async def _the_use_case(desk: Desk, name: str) -> UseCaseRow:
    row = await desk.registry.get(KIND, name)
    try:
        if row is not None:
            return parse_use_case(row)
    except RowError:
        pass
    msg = "there is no such use case"
    raise NotFoundError(msg)


async def _save(desk: Desk, changed: UseCaseRow, why: Why) -> dict[str, Any]:
    place = (KIND, changed.use_case, changed.revision)
    row = await save_row(desk, why, place=place, body=use_case_body(changed))
    return _json(desk, parse_use_case(row))


def _json(desk: Desk, found: UseCaseRow) -> dict[str, Any]:
    return {
        "name": found.use_case,
        "revision": found.revision,
        "owner": found.owner,
        "tools": sorted(found.tools),
        "tier": int(found.tier(desk.tools)),
    }
