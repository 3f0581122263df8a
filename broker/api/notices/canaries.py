"""Canaries over HTTP, for security and compliance: the switch, scores, lost rights."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Depends, Request
from pydantic import Field

from broker.api.admin.registry import ReasonBody
from broker.api.bodies import Body, documented, read
from broker.api.identity.changes import (
    Why,
    save_row,
    the_agent,
    the_person,
    who_asked,
)
from broker.api.security import person, person_row
from broker.approving.canaries import Score, score
from broker.core.vigilance.evidence import ALARM_AT, TOLERATED_MISS
from broker.core.words.subject import Caller
from broker.registry.vigilance import rows

if TYPE_CHECKING:
    from broker.api.identity.desk import Desk
    from broker.ports import Ports
    from broker.ports.vigilance import Habit, Vigil
    from broker.registry.vigilance.rows import Canaries, Right

router = APIRouter(prefix="/v1/admin/canaries", tags=["registry"])
Someone = Annotated[Caller, Depends(person)]
_NOTICE_CHARS = 500

STAFF_NOTICE = (
    "Among the actions that you are asked to approve, a few are made up, must be "
    "rejected, and are never executed. Whether you reject them is counted for each "
    "person, to learn whether approval protects customers; so is how often you approve "
    "and how long you look. Below a tolerance your right to approve is suspended, and "
    "two people give it back after talking to you. Nothing else is decided by it. "
    "Security and compliance see the figures; they are kept as long as the record of "
    "approvals. You can see yours at any time, and object. Where there is a works "
    "council, it agrees before this is switched on."
)


class OnBody(Body):
    """Where and when the staff was told, in whose name canaries ask, how many a day."""

    notice_shown: str = Field(min_length=1, max_length=_NOTICE_CHARS)
    agent: str = Field(min_length=36, max_length=36)
    per_day: int = Field(default=1, ge=1, le=rows.PER_DAY_MAX)


@router.get("", summary="See whether canaries are on, and how people do")
async def show(request: Request, who: Someone) -> dict[str, Any]:
    """Return the switch, the notice for the staff, and a line for each approver.

    Whoever is not of security, administration or compliance gets their own line alone.
    """
    actor = await person_row(_desk(request), who)
    everybody = not actor.roles.isdisjoint(rows.DECIDERS)
    ports, vigil = _ports(request), _vigil(request)
    habits = {one.person_id: one for one in await vigil.habits()}
    watched = await vigil.watched()
    switch = await vigil.switch()
    # How people work is shown only where they were told that it is.
    people = sorted({*watched, *(habits if switch.on else ())})
    if not everybody:
        people = [one for one in people if one == actor.person_id]
    lines = []
    for person_id in people:
        found, right = await score(ports, vigil, person_id)
        habit = habits.get(person_id) if switch.on else None
        lines.append(_person_json(found, right, habit))
    return _switch_json(switch) | {"people": lines, "staff_notice": STAFF_NOTICE}


@router.post(
    "/on",
    summary="Ask to switch canaries on, or confirm it",
    openapi_extra=documented(OnBody),
)
async def switch_on(request: Request, who: Someone) -> dict[str, Any]:
    """Ask for it; a second person who says the same switches them on."""
    desk, vigil = _desk(request), _vigil(request)
    actor = await person_row(desk, who)
    body = await read(request, OnBody)
    await the_agent(desk, body.agent)
    now = await vigil.switch()
    changed = rows.switched_on(
        now,
        actor,
        asker=await who_asked(desk, now.asked_by, at=now.at),
        notice_shown=body.notice_shown.strip(),
        agent=body.agent,
        per_day=body.per_day,
    )
    what = "canaries.on" if changed.on else "canaries.ask_on"
    by = (now.asked_by,) if changed.on else ()
    await _save(desk, changed, Why(actor, what, body.notice_shown), by)
    return _switch_json(changed)


@router.post(
    "/off", summary="Switch canaries off", openapi_extra=documented(ReasonBody)
)
async def switch_off(request: Request, who: Someone) -> dict[str, Any]:
    """Switch them off at once; what waits of them goes on as it is, and is judged."""
    desk, vigil = _desk(request), _vigil(request)
    actor = await person_row(desk, who)
    reason = (await read(request, ReasonBody)).reason.strip()
    changed = rows.switched_off(await vigil.switch(), actor)
    await _save(desk, changed, Why(actor, "canaries.off", reason), ())
    return _switch_json(changed)


@router.post(
    "/rights/{person_id}/give-back",
    summary="Ask to give a suspended right back, or confirm it",
    openapi_extra=documented(ReasonBody),
)
async def give_back(request: Request, person_id: str, who: Someone) -> dict[str, Any]:
    """Ask for it; a second person who says the same gives it back."""
    desk, vigil = _desk(request), _vigil(request)
    actor = await person_row(desk, who)
    reason = (await read(request, ReasonBody)).reason.strip()
    await the_person(desk, person_id)
    now, at = await vigil.right(person_id)
    asker = await who_asked(desk, now.asked_by, at=at)
    changed = rows.given_back(now, actor, asker=asker)
    asked = changed.suspended
    what = "approval_right.ask_back" if asked else "approval_right.give_back"
    await save_row(
        desk,
        Why(actor, what, reason),
        place=(rows.RIGHT_KIND, person_id, now.revision),
        body=rows.right_body(changed),
        also_by=() if asked else (now.asked_by,),
    )
    return {"person": person_id, "suspended": asked, "asked_by": changed.asked_by}


async def _save(desk: Desk, switch: Canaries, why: Why, by: tuple[str, ...]) -> None:
    await save_row(
        desk,
        why,
        place=(rows.SWITCH_KIND, rows.SWITCH_ID, switch.revision),
        body=rows.canaries_body(switch),
        also_by=by,
    )


def _switch_json(switch: Canaries) -> dict[str, Any]:
    return {
        "status": switch.status,
        "notice_shown": switch.notice_shown or None,
        "agent": switch.agent or None,
        "per_day": switch.per_day,
        "asked_by": switch.asked_by or None,
    }


def _person_json(found: Score, right: Right, habit: Habit | None) -> dict[str, Any]:
    return {
        "person": found.person_id,
        "canaries": found.seen,
        "caught": found.seen - found.missed,
        "tolerated_miss": TOLERATED_MISS,
        "evidence": round(found.evidence, 3),
        "alarm_at": ALARM_AT,
        "suspended": right.suspended,
        "decided": habit.decided if habit else None,
        "approved": habit.approved if habit else None,
        "dwell_s": habit.dwell_s if habit else None,
    }


def _desk(request: Request) -> Desk:
    desk: Desk = request.app.state.desk
    return desk


def _ports(request: Request) -> Ports:
    ports: Ports = request.app.state.ports
    return ports


def _vigil(request: Request) -> Vigil:
    vigil: Vigil = request.app.state.vigil
    return vigil
