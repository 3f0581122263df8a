"""Reject by the link in a mail: looking does nothing, pressing the button does.

The link is the whole credential, and can only say no. Scanners follow links, so that a
GET never changes anything.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from fastapi import APIRouter, Request
from pydantic import Field

from broker.api.bodies import Body, documented, read, read_bytes
from broker.api.console import drawing
from broker.approving import links
from broker.core.approvals.links import REJECT_LINK_BYTES_MAX
from broker.core.words.approval import VOTE_REASON_LENGTH_MAX
from broker.core.words.errors import BrokerError, InvalidError

if TYPE_CHECKING:
    from starlette.responses import Response

    from broker.approving.voting import Counted
    from broker.ports import Ports
    from broker.ports.notices import Mailroom

router = APIRouter()
FORM_BYTES = 8_192
_FIELDS = 4


class RejectBody(Body):
    """The token of a reject link, and why; the agent reads the reason."""

    token: str = Field(min_length=1, max_length=REJECT_LINK_BYTES_MAX)
    reason: str = Field(default="", max_length=VOTE_REASON_LENGTH_MAX)


@router.post(
    "/v1/notices/reject",
    tags=["approvals"],
    summary="Reject by the link in a mail",
    openapi_extra=documented(RejectBody),
    responses={
        403: {"description": "No link of ours, or it has ended."},
        404: {"description": "There is no such approval."},
        409: {"description": "The approval has ended, or asks something else now."},
    },
)
async def reject(request: Request) -> dict[str, Any]:
    """Count the no that the link stands for; the same link again changes nothing."""
    body = await read(request, RejectBody)
    counted = await _reject(request, body.token, body.reason)
    return {
        "approval": counted.approval_id,
        "vote": counted.vote_id,
        "state": counted.state.value,
    }


@router.get("/console/reject", include_in_schema=False)
async def ask(request: Request) -> Response:
    """Show what the link is about, and a button."""
    token = request.query_params.get("t", "")
    try:
        found = await links.look(_ports(request), token, key=_room(request).link_key)
    except BrokerError as error:
        return drawing.page("reject.html", {"error": error}, status=error.status)
    return drawing.page("reject.html", {"desk": found, "token": token})


@router.post("/console/reject", include_in_schema=False)
async def press(request: Request) -> Response:
    """Reject, and say so."""
    try:
        form = await _form(request)
        reason = " ".join(form.get("reason", "").split())
        counted = await _reject(request, form.get("t", ""), reason)
    except BrokerError as error:
        return drawing.page("reject.html", {"error": error}, status=error.status)
    return drawing.page("reject.html", {"counted": counted})


async def _reject(request: Request, token: str, reason: str) -> Counted:
    room = _room(request)
    return await links.reject(
        _ports(request),
        token,
        reason=reason,
        key=room.link_key,
        environment=room.environment,
    )


async def _form(request: Request) -> dict[str, str]:
    data = await read_bytes(request, bytes_max=FORM_BYTES)
    try:
        pairs = parse_qsl(
            data.decode("ascii"), keep_blank_values=True, max_num_fields=_FIELDS
        )
    except ValueError:
        msg = "this is not the form of the page"
        raise InvalidError(msg) from None
    return dict(pairs)


def _ports(request: Request) -> Ports:
    ports: Ports = request.app.state.ports
    return ports


def _room(request: Request) -> Mailroom:
    room: Mailroom = request.app.state.mailroom
    return room
