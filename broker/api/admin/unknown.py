"""Unknown outcomes over HTTP, for people: what may have happened, and who says so.

A resolution is signed by the person's own key before it gets here; what the body says
beside it must be what was signed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Depends, Request, Response
from pydantic import Field

from broker import undo as undoing
from broker.api.actions import answer_response
from broker.api.bodies import Body, documented, read
from broker.api.security import person
from broker.core.approvals.resolutions import (
    RESOLUTION_BYTES_MAX,
    RESOLUTION_REASON_LENGTH_MAX,
)
from broker.core.approvals.votes import is_id
from broker.core.jwk import JwsError
from broker.core.jws import claims_of, unpack
from broker.core.words.action import REASON_LENGTH_MAX
from broker.core.words.errors import InvalidError, NotFoundError
from broker.core.words.moment import write_moment
from broker.core.words.money import AMOUNT_MINOR_UNITS_MAX
from broker.core.words.subject import Caller
from broker.unknown import resolve as resolving

if TYPE_CHECKING:
    from broker.ports import Ports
    from broker.unknown.resolve import Listed

router = APIRouter(prefix="/v1/admin/actions", tags=["approvals"])
Someone = Annotated[Caller, Depends(person)]


class ResolveBody(Body):
    """What became of it; the reason stands in the log for good, without personal data.

    ``amount_minor_units`` is what the upstream moved, if not what was decided.
    ``signature`` is a JWS of type counterfoil-resolution+jwt over action, digest,
    happened, amount_minor_units and reason, by the person's own key.
    """

    happened: bool
    amount_minor_units: int | None = Field(
        default=None, ge=1, le=AMOUNT_MINOR_UNITS_MAX
    )
    reason: str = Field(min_length=1, max_length=RESOLUTION_REASON_LENGTH_MAX)
    signature: str = Field(min_length=1, max_length=RESOLUTION_BYTES_MAX)


@router.get("/unknown", summary="List what may have happened")
async def list_unknown(request: Request, who: Someone) -> dict[str, Any]:
    """Return actions whose outcome nobody knows, the oldest first."""
    found = await resolving.listed(_ports(request), who)
    return {"unknown": [_json(one) for one in found]}


@router.post("/unknown/reconcile", summary="Find out now what became of them")
async def reconcile(request: Request, who: Someone) -> dict[str, Any]:
    """Ask the edge and the upstream about those that you see; the oldest first."""
    rounds, left = await resolving.reconciled(_ports(request), who)
    return {
        "reconciled": [
            {
                "action": one.action_id,
                "state": one.state.value,
                "by": one.by.value,
                "said": one.said,
                "alarms": list(one.alarms),
            }
            for one in rounds
        ],
        "left": left,
    }


@router.post(
    "/{action_id}/resolve",
    summary="Say what became of an unknown action",
    openapi_extra=documented(ResolveBody),
    responses={
        403: {"description": "Not signed by your key, or not yours to resolve."},
        409: {"description": "It is not unknown any more."},
        422: {"description": "What was signed is malformed, old, or something else."},
    },
)
async def resolve(request: Request, action_id: str, who: Someone) -> dict[str, Any]:
    """Post or give back what is held; the same resolution again changes nothing."""
    if not is_id(action_id):
        msg = "there is no such action for you"
        raise NotFoundError(msg)
    body = await read(request, ResolveBody)
    _check_same(body)
    done = await resolving.resolve(_ports(request), who, action_id, body.signature)
    return {
        "action": done.action_id,
        "state": done.state.value,
        "repeated": done.repeated,
    }


class UndoBody(Body):
    """Why it is taken back; people who sign it read that."""

    reason: str = Field(min_length=1, max_length=REASON_LENGTH_MAX)


@router.post(
    "/{action_id}/undo",
    summary="Ask for an action to be taken back",
    openapi_extra=documented(UndoBody),
    responses={
        202: {"description": "People must sign it; it is another action."},
        403: {"description": "Denied; reasons are stable codes."},
        409: {"description": "It is not done, or its tool declares no undo."},
    },
)
async def undo(request: Request, action_id: str, who: Someone) -> Response:
    """Ask for what its tool declares as undo: decided, limited and signed like any."""
    if not is_id(action_id):
        msg = "there is no such action for you"
        raise NotFoundError(msg)
    body, ports = await read(request, UndoBody), _ports(request)
    answer = await undoing.undo(ports, who, action_id, reason=body.reason)
    return await answer_response(ports, answer)


def _check_same(body: ResolveBody) -> None:
    """Require that what is said in clear is what the signature says; it is verified."""
    try:
        claims = claims_of(unpack(body.signature, bytes_max=RESOLUTION_BYTES_MAX))
    except JwsError as error:
        msg = f"the signature is no compact JWS ({error.problem})"
        raise InvalidError(msg, pointer="/signature") from None
    for name in ("happened", "amount_minor_units", "reason"):
        if claims.get(name) != getattr(body, name):
            msg = f"{name} is not what was signed"
            raise InvalidError(msg, pointer=f"/{name}")


def _json(one: Listed) -> dict[str, Any]:
    record, amount, known = one.record, one.amount, one.open
    return {
        "action": known.action_id,
        "tool": record.request.tool,
        "agent": record.requester.agent_id,
        "customer_ref": record.customer_ref,
        "amount": None
        if amount is None
        else {
            "minor_units": amount.minor_units,
            "currency": amount.currency,
            "text": str(amount),
        },
        "since": write_moment(known.since),
        "age_s": int(known.age_s),
        "receipt": record.outcome.detail if record.outcome else "",
        "edge_said": known.edge_said,
        "asks": known.asks,
        "asked_next_at": write_moment(known.ask_at) if known.ask_at else None,
        "alarms": list(known.alarms),
        "role": one.role,
        "digest": one.digest,
        "may_resolve": one.refusal is None,
        "why_not": {"code": one.refusal.code, "text": one.refusal.text}
        if one.refusal
        else None,
    }


def _ports(request: Request) -> Ports:
    ports: Ports = request.app.state.ports
    return ports
