"""People over HTTP: nobody grants their own role, and what widens takes two.

Narrowing takes one person and works at once, with one exception: the last two
administrators are not ended by one alone, or either could put the other one out.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Depends, Request, Response
from pydantic import Field

from broker.api.admin.registry import ReasonBody, keys_of, printable
from broker.api.bodies import documented, read
from broker.api.identity.changes import Why, save_person, the_person
from broker.api.identity.shown import person_json
from broker.api.identity.widening.proposals import propose
from broker.api.security import person, person_row
from broker.core.words.errors import ConflictError, InvalidError
from broker.core.words.subject import Caller
from broker.registry.people import (
    CURRENCIES_MAX,
    PersonRow,
    Role,
    as_active,
    as_removed,
    check_may_change_person,
    check_may_narrow,
    check_may_see,
    parse_person,
    person_body,
    takes_two,
    widens,
    with_limits,
    with_roles,
)
from broker.registry.reading import NAME_CHARS_MAX, RowError

if TYPE_CHECKING:
    from collections.abc import Callable

    from broker.api.identity.desk import Desk

router = APIRouter(prefix="/v1/admin/people", tags=["registry"])
Someone = Annotated[Caller, Depends(person)]

_WAITS: dict[int | str, dict[str, Any]] = {
    202: {"description": "It waits for a second person."}
}


class PersonBody(ReasonBody):
    """A new person; ``key`` is the public JWK that they sign in and vote with."""

    name: str = Field(min_length=1, max_length=NAME_CHARS_MAX)
    roles: list[str] = Field(max_length=len(Role))
    approval_limits: dict[str, int] = Field(default={}, max_length=CURRENCIES_MAX)
    key: dict[str, Any]


class RolesBody(ReasonBody):
    """Roles to add and to take away."""

    add: list[str] = Field(default=[], max_length=len(Role))
    drop: list[str] = Field(default=[], max_length=len(Role))


class LimitsBody(ReasonBody):
    """What they may approve at once, by currency; 0 takes a currency away."""

    approval_limits: dict[str, int] = Field(min_length=1, max_length=CURRENCIES_MAX)


@router.get("", summary="List people")
async def list_people(request: Request, who: Someone) -> dict[str, Any]:
    """Return everybody whose row verifies, by name."""
    desk = _desk(request)
    check_may_see(await person_row(desk, who))
    return {"people": [person_json(one) for one in await _everybody(desk)]}


@router.get("/{person_id}", summary="Show a person")
async def show_person(request: Request, who: Someone, person_id: str) -> dict[str, Any]:
    """Return a person, and when their keys were used."""
    desk = _desk(request)
    check_may_see(await person_row(desk, who))
    found = await the_person(desk, person_id)
    return person_json(found, await desk.identities.key_uses(f"person:{person_id}"))


@router.post(
    "",
    status_code=202,
    summary="Ask for a person to be added",
    openapi_extra=documented(PersonBody),
)
async def add_person(request: Request, who: Someone) -> dict[str, Any]:
    """Ask for a person with roles, limits and a key; a second person decides."""
    desk = _desk(request)
    actor = await person_row(desk, who)
    body = await read(request, PersonBody)
    person_id = desk.ids.new()
    check_may_change_person(actor, person_id)
    added = PersonRow(
        person_id=person_id,
        revision=0,
        name=printable(body.name),
        roles=_roles(body.roles, "/roles"),
        limits=body.approval_limits,
        keys=keys_of(body.key),
        active=True,
    )
    why = Why(actor, "person.add", body.reason)
    place = ("person", person_id, 0)
    return await propose(desk, why, place=place, body=person_body(added))


@router.post(
    "/{person_id}/roles",
    summary="Take roles from a person, or ask for others",
    openapi_extra=documented(RolesBody),
    responses=_WAITS,
)
async def roles(
    request: Request, who: Someone, person_id: str, response: Response
) -> dict[str, Any]:
    """Take roles away at once; more of them wait for a second person."""
    body = await read(request, RolesBody)
    add, drop = _roles(body.add, "/add"), _roles(body.drop, "/drop")

    def changed(found: PersonRow) -> PersonRow:
        return with_roles(found, add=add, drop=drop)

    why = ("person.roles", body.reason)
    return await _change(request, who, person_id, response, changed=changed, why=why)


@router.post(
    "/{person_id}/limits",
    summary="Lower a person's limits, or ask for higher ones",
    openapi_extra=documented(LimitsBody),
    responses=_WAITS,
)
async def limits(
    request: Request, who: Someone, person_id: str, response: Response
) -> dict[str, Any]:
    """Lower limits at once; higher ones wait for a second person."""
    body = await read(request, LimitsBody)

    def changed(found: PersonRow) -> PersonRow:
        return with_limits(found, body.approval_limits)

    why = ("person.limits", body.reason)
    return await _change(request, who, person_id, response, changed=changed, why=why)


@router.post(
    "/{person_id}/suspend",
    summary="Suspend a person",
    openapi_extra=documented(ReasonBody),
    responses=_WAITS,
)
async def suspend_person(
    request: Request, who: Someone, person_id: str, response: Response
) -> dict[str, Any]:
    """Stop a person at once: they can neither sign in nor vote."""
    body = await read(request, ReasonBody)

    def changed(found: PersonRow) -> PersonRow:
        if not found.active:
            msg = f"this person is {found.status} already"
            raise ConflictError(msg)
        return replace(found, active=False)

    why = ("person.suspend", body.reason)
    return await _change(request, who, person_id, response, changed=changed, why=why)


@router.post(
    "/{person_id}/resume",
    status_code=202,
    summary="Ask for a suspended person to be let in again",
    openapi_extra=documented(ReasonBody),
)
async def resume_person(
    request: Request, who: Someone, person_id: str, response: Response
) -> dict[str, Any]:
    """Ask for a suspended person to act again; a second person decides."""
    body = await read(request, ReasonBody)
    why = ("person.resume", body.reason)
    return await _change(request, who, person_id, response, changed=as_active, why=why)


@router.post(
    "/{person_id}/remove",
    summary="Remove a person for good",
    openapi_extra=documented(ReasonBody),
    responses=_WAITS,
)
async def remove_person(
    request: Request, who: Someone, person_id: str, response: Response
) -> dict[str, Any]:
    """End a person at once and for good; votes of theirs that wait count no more."""
    body = await read(request, ReasonBody)
    why = ("person.remove", body.reason)
    return await _change(request, who, person_id, response, changed=as_removed, why=why)


async def _change(
    request: Request,
    who: Caller,
    person_id: str,
    response: Response,
    *,
    changed: Callable[[PersonRow], PersonRow],
    why: tuple[str, str],
) -> dict[str, Any]:
    """Change a person at once, or have it wait for a second person."""
    desk = _desk(request)
    actor = await person_row(desk, who)
    check_may_narrow(actor)
    found = await the_person(desk, person_id)
    after = changed(found)
    more = widens(found, after)
    if more or why[0] in {"person.roles", "person.limits"}:
        check_may_change_person(actor, person_id)
    reason = Why(actor, *why, narrows=not more)
    if not takes_two(found, after, await _everybody(desk)):
        return person_json(await save_person(desk, after, reason))
    response.status_code = 202
    place = ("person", person_id, found.revision)
    return await propose(desk, reason, place=place, body=person_body(after))


async def _everybody(desk: Desk) -> list[PersonRow]:
    found = []
    for row in await desk.registry.list("person"):
        try:
            found.append(parse_person(row))
        except RowError:
            continue
    found.sort(key=lambda one: (one.name, one.person_id))
    return found


def _roles(names: list[str], pointer: str) -> frozenset[Role]:
    if not {*names} <= {*Role}:
        msg = f"roles are some of: {', '.join(Role)}"
        raise InvalidError(msg, pointer=pointer)
    return frozenset(Role(name) for name in names)


def _desk(request: Request) -> Desk:
    desk: Desk = request.app.state.desk
    return desk
