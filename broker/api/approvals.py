"""Approvals over HTTP, for people: what waits, the card, and the vote.

A vote is signed by the person's own key before it gets here; the token only says who is
asking. The endpoint translates and decides nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Depends, Request
from pydantic import Field

from broker.api.bodies import Body, documented, read
from broker.api.security import person
from broker.approving import listing, voting
from broker.approving.views import Onlooker
from broker.core.approvals.votes import VOTE_BYTES_MAX, is_id
from broker.core.words.errors import NotFoundError
from broker.core.words.moment import write_moment
from broker.core.words.subject import Caller

if TYPE_CHECKING:
    from broker.approving.listing import Waiting
    from broker.ports import Ports

router = APIRouter(prefix="/v1/approvals", tags=["approvals"])
Someone = Annotated[Caller, Depends(person)]


class VoteBody(Body):
    """A vote: a compact JWS of type counterfoil-vote+jwt, by the person's own key."""

    vote: str = Field(min_length=1, max_length=VOTE_BYTES_MAX)


@router.get("", summary="List what waits for your roles")
async def list_approvals(request: Request, who: Someone) -> dict[str, Any]:
    """Return pending approvals, the next to expire first."""
    found = await listing.pending(_ports(request), who)
    return {"approvals": [_waiting_json(one) for one in found]}


@router.get("/{approval_id}", summary="See what you would sign")
async def show_approval(
    request: Request, approval_id: str, who: Someone
) -> dict[str, Any]:
    """Return the card; ``shown`` is the digest that a vote must name."""
    me = Onlooker(who.subject_id, "api", "key" if who.proof_of_possession else "token")
    return await voting.card(_ports(request), who, _checked(approval_id), shown_to=me)


@router.post(
    "/{approval_id}/votes",
    summary="Vote",
    openapi_extra=documented(VoteBody),
    responses={
        403: {"description": "Not signed by your key, or you may not sign this."},
        409: {"description": "It ended, or it is not what you were shown."},
        422: {"description": "The vote is malformed, old, or lacks a reason."},
    },
)
async def cast_vote(request: Request, approval_id: str, who: Someone) -> dict[str, Any]:
    """Count a signed vote; the same vote again changes nothing."""
    body = await read(request, VoteBody)
    counted = await voting.cast(_ports(request), who, _checked(approval_id), body.vote)
    return {
        "approval": counted.approval_id,
        "vote": counted.vote_id,
        "state": counted.state.value,
        "approved": counted.approved,
        "approvers_min": counted.approvers_min,
    }


def _ports(request: Request) -> Ports:
    ports: Ports = request.app.state.ports
    return ports


def _checked(approval_id: str) -> str:
    if not is_id(approval_id):
        msg = "there is no such approval for you"
        raise NotFoundError(msg)
    return approval_id


def _waiting_json(waiting: Waiting) -> dict[str, Any]:
    one, amount = waiting.desk, waiting.desk.amount
    refusal = waiting.refusal
    return {
        "approval": one.approval_id,
        "action": one.action_id,
        "tool": one.tool,
        "amount": None
        if amount is None
        else {
            "minor_units": amount.minor_units,
            "currency": amount.currency,
            "text": str(amount),
        },
        "customer_ref": one.customer_ref,
        "agent": one.agent_id,
        "role": one.role,
        "approvers_min": one.approvers_min,
        "votes": one.votes,
        "findings": list(one.findings),
        "simulated": one.simulated,
        "created_at": write_moment(one.created_at),
        "expires_at": write_moment(one.expires_at),
        "expires_in_s": int(one.left_s),
        "may_approve": refusal is None,
        "why_not": {"code": refusal.code, "text": refusal.text} if refusal else None,
    }
