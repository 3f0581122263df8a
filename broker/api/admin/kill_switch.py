"""The kill switch over HTTP: anybody of security stops everything, two let it go on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Depends, Request

from broker.api.admin.registry import ReasonBody
from broker.api.bodies import documented, read
from broker.api.identity.changes import Why, save_switch, the_switch, who_asked
from broker.api.security import person, person_row
from broker.core.words.errors import InvalidError
from broker.core.words.subject import Caller
from broker.registry.emergency.kill_switch import KillSwitch, lifted, thrown
from broker.registry.people import check_may_see

if TYPE_CHECKING:
    from broker.api.identity.desk import Desk

router = APIRouter(prefix="/v1/admin/kill-switch", tags=["registry"])
Someone = Annotated[Caller, Depends(person)]


@router.get("", summary="Is everything stopped?")
async def show(request: Request, who: Someone) -> dict[str, Any]:
    """Return whether the kill switch is on, and who asked to lift it."""
    desk: Desk = request.app.state.desk
    check_may_see(await person_row(desk, who))
    return _json(await the_switch(desk))


@router.post(
    "/on", summary="Stop every agent at once", openapi_extra=documented(ReasonBody)
)
async def stop(request: Request, who: Someone) -> dict[str, Any]:
    """Stop every agent of this environment, and end all their tokens.

    What waits for approval is refused. A reason is required: it stands in the log.
    """
    desk: Desk = request.app.state.desk
    actor = await person_row(desk, who)
    reason = await _reason(request)
    changed = thrown(await the_switch(desk), actor)
    why = Why(actor, "kill_switch.on", reason, narrows=True)
    return _json(await save_switch(desk, changed, why))


@router.post(
    "/off",
    summary="Ask to let everything go on, or confirm it",
    openapi_extra=documented(ReasonBody),
)
async def lift(request: Request, who: Someone) -> dict[str, Any]:
    """Ask to lift it; a second person who says the same lifts it.

    One of the two must be of security. Agents get new tokens afterwards by themselves.
    """
    desk: Desk = request.app.state.desk
    actor = await person_row(desk, who)
    reason = await _reason(request)
    now = await the_switch(desk)
    asker = await who_asked(desk, now.asked_by, at=now.at)
    changed = lifted(now, actor, asker=asker)
    what = "kill_switch.ask_off" if changed.on else "kill_switch.off"
    why = Why(actor, what, reason, seconded="" if changed.on else now.asked_by)
    return _json(await save_switch(desk, changed, why))


async def _reason(request: Request) -> str:
    reason = (await read(request, ReasonBody)).reason.strip()
    if not reason:
        msg = "a reason is needed, without personal data"
        raise InvalidError(msg, pointer="/reason")
    return reason


def _json(switch: KillSwitch) -> dict[str, Any]:
    return {
        "on": switch.on,
        "revision": switch.revision,
        "lift_asked_by": switch.asked_by or None,
    }
