"""After a restore, over HTTP: people of security compare, and let everything go on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final

from fastapi import APIRouter, Depends, Request
from pydantic import Field

from broker.api.bodies import Body, documented, read
from broker.api.security import person, person_row
from broker.core.words.action import REASON_LENGTH_MAX
from broker.core.words.subject import Caller
from broker.registry.people import check_may_narrow, check_may_see
from broker.unknown.restored import SENT_MAX, SentWarrant, agree

if TYPE_CHECKING:
    from broker.api.identity.desk import Desk
    from broker.unknown.restored import Gate

RESTORE_BYTES_MAX: Final = 4 * 1_048_576
_UUID: Final = r"^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$"

router = APIRouter(prefix="/v1/admin/restore", tags=["registry"])
Someone = Annotated[Caller, Depends(person)]


class SentBody(Body):
    """One warrant that an edge sent, as `counterfoil audit agree` reads it there."""

    warrant: str = Field(pattern=_UUID)
    action: str = Field(pattern=_UUID)
    tool: str = Field(default="", max_length=64)


class AgreeBody(Body):
    """Everything that edges sent since the backup, and why it is gone on with."""

    reason: str = Field(min_length=1, max_length=REASON_LENGTH_MAX)
    sent: list[SentBody] = Field(max_length=SENT_MAX)


@router.get("", summary="Does anything wait after a restore?")
async def show(request: Request, who: Someone) -> dict[str, Any]:
    """Return the origin that nobody has agreed to yet, or null."""
    desk: Desk = request.app.state.desk
    check_may_see(await person_row(desk, who))
    gate: Gate = request.app.state.restored
    return {"waits_for": await gate.origin() or None}


@router.post(
    "/agree",
    summary="Go on after a restore",
    openapi_extra=documented(AgreeBody),
    responses={409: {"description": "Nothing waits for it."}},
)
async def go_on(request: Request, who: Someone) -> dict[str, Any]:
    """Put aside what edges sent and the database has as not sent; then decide again."""
    desk: Desk = request.app.state.desk
    check_may_narrow(await person_row(desk, who))
    body = await read(request, AgreeBody, bytes_max=RESTORE_BYTES_MAX)
    sent = [SentWarrant(one.warrant, one.action, one.tool) for one in body.sent]
    state = request.app.state
    done = await agree(state.ports, state.restored, who, sent, reason=body.reason)
    return {
        "origin": done.origin,
        "known": done.known,
        "held": list(done.held),
        "lost": list(done.lost),
    }
