"""Changes that wait for a second person, over HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Depends, Request
from pydantic import Field

from broker.api.admin.registry import ReasonBody
from broker.api.bodies import documented, read
from broker.api.identity.widening import proposals
from broker.api.security import person, person_row
from broker.core.words.subject import Caller
from broker.registry.people import check_may_see

if TYPE_CHECKING:
    from broker.api.identity.desk import Desk

router = APIRouter(prefix="/v1/admin/changes", tags=["registry"])
Someone = Annotated[Caller, Depends(person)]
REVISION_MAX = 2**31 - 1


class ApproveBody(ReasonBody):
    """The revision of the change that was looked at: another one is not meant."""

    revision: int = Field(ge=1, le=REVISION_MAX)


@router.get("", summary="List changes that wait for a second person")
async def list_changes(request: Request, who: Someone) -> dict[str, Any]:
    """Return what somebody asked for and nobody has decided, the earliest first."""
    desk: Desk = request.app.state.desk
    check_may_see(await person_row(desk, who))
    return {"changes": await proposals.changes(desk)}


@router.get("/{change_id}", summary="Show a change")
async def show_change(request: Request, who: Someone, change_id: str) -> dict[str, Any]:
    """Return a change with the row as it would be, whatever became of it."""
    desk: Desk = request.app.state.desk
    check_may_see(await person_row(desk, who))
    return await proposals.one_change(desk, change_id)


@router.post(
    "/{change_id}/approve",
    summary="Approve a change as the second person",
    openapi_extra=documented(ApproveBody),
)
async def approve(request: Request, who: Someone, change_id: str) -> dict[str, Any]:
    """Make it true, after everything was checked again."""
    desk: Desk = request.app.state.desk
    actor = await person_row(desk, who)
    body = await read(request, ApproveBody)
    return await proposals.approve(
        desk, actor, change_id, seen=body.revision, reason=body.reason
    )


@router.post(
    "/{change_id}/reject",
    summary="Reject a change, or take one's own back",
    openapi_extra=documented(ReasonBody),
)
async def reject(request: Request, who: Someone, change_id: str) -> dict[str, Any]:
    """End it; what it would have changed stays as it is."""
    desk: Desk = request.app.state.desk
    actor = await person_row(desk, who)
    body = await read(request, ReasonBody)
    return await proposals.reject(desk, actor, change_id, body.reason)
