"""Approvals over HTTP, for people: what waits, the card, and the vote.

A vote is signed by the person's own key before it gets here; the token only says who is
asking. The endpoint translates and decides nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from pydantic import BaseModel, Field

from broker.api.bodies import Body, documented, read
from broker.api.security import person
from broker.approving import listing, voting
from broker.approving.listing import (
    CURSOR_CHARS_MAX,
    FILTER_CHARS_MAX,
    PAGE_MAX,
    Wanted,
)
from broker.approving.views import Onlooker
from broker.core.approvals.votes import VOTE_BYTES_MAX, is_id
from broker.core.words.errors import NotFoundError
from broker.core.words.moment import write_moment
from broker.core.words.subject import Caller
from broker.ports.queue import Order

if TYPE_CHECKING:
    from broker.approving.listing import Waiting
    from broker.approving.voting import Counted
    from broker.ports import Ports

router = APIRouter(prefix="/v1/approvals", tags=["approvals"])
Someone = Annotated[Caller, Depends(person)]


class VoteBody(Body):
    """A vote: a compact JWS of type counterfoil-vote+jwt, by the person's own key."""

    vote: str = Field(min_length=1, max_length=VOTE_BYTES_MAX)


class ListQuery(BaseModel):
    """Which part of what waits, and in which order."""

    limit: int = Field(default=PAGE_MAX, ge=1, le=PAGE_MAX)
    order: Order = Order.EXPIRY
    customer_ref: str = Field(default="", max_length=FILTER_CHARS_MAX)
    agent: str = Field(default="", max_length=FILTER_CHARS_MAX)
    tool: str = Field(default="", max_length=FILTER_CHARS_MAX)
    cursor: str = Field(default="", max_length=CURSOR_CHARS_MAX)


@router.get("", summary="List what waits for your roles")
async def list_approvals(
    request: Request, who: Someone, query: Annotated[ListQuery, Query()]
) -> dict[str, Any]:
    """Return pending approvals, the next to expire or the largest amount first.

    ``next_cursor`` is where the next page begins; it is null on the last one.
    """
    wanted = Wanted(
        limit=query.limit,
        order=query.order,
        customer_ref=query.customer_ref,
        agent_id=query.agent,
        tool=query.tool,
        cursor=query.cursor,
    )
    found = await listing.page(ports_of(request), who, wanted)
    return {
        "approvals": [_waiting_json(one, who.subject_id) for one in found.waiting],
        "next_cursor": found.cursor or None,
    }


@router.get("/{approval_id}", summary="See what you would sign")
async def show_approval(
    request: Request, approval_id: str, who: Someone
) -> dict[str, Any]:
    """Return the card; ``shown`` is the digest that a vote must name."""
    me = Onlooker(who.subject_id, "api", "key" if who.proof_of_possession else "token")
    return await voting.card(
        ports_of(request), who, checked_id(approval_id), shown_to=me
    )


@router.post(
    "/{approval_id}/votes",
    summary="Vote",
    openapi_extra=documented(VoteBody),
    responses={
        403: {"description": "Not signed by your key, or you may not sign this."},
        409: {"description": "It ended, is not what you were shown, or is claimed."},
        422: {"description": "The vote is malformed, old, or lacks a reason."},
        429: {"description": "You said yes too often; a no is never refused for it."},
    },
)
async def cast_vote(request: Request, approval_id: str, who: Someone) -> dict[str, Any]:
    """Count a signed vote; the same vote again changes nothing."""
    body = await read(request, VoteBody)
    counted = await voting.cast(
        ports_of(request), who, checked_id(approval_id), body.vote
    )
    return counted_json(counted)


def counted_json(counted: Counted) -> dict[str, Any]:
    """Return what a vote led to, as JSON."""
    return {
        "approval": counted.approval_id,
        "vote": counted.vote_id,
        "state": counted.state.value,
        "approved": counted.approved,
        "approvers_min": counted.approvers_min,
    }


def ports_of(request: Request) -> Ports:
    """Return what the flow uses."""
    ports: Ports = request.app.state.ports
    return ports


def checked_id(approval_id: str) -> str:
    """Return an approval's id.

    Raises:
        NotFoundError: it is none.
    """
    if not is_id(approval_id):
        msg = "there is no such approval for you"
        raise NotFoundError(msg)
    return approval_id


def _waiting_json(waiting: Waiting, person_id: str) -> dict[str, Any]:
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
        "escalated": sorted(one.escalated),
        "approvers_min": one.approvers_min,
        "votes": one.votes,
        "findings": list(one.findings),
        "simulated": one.simulated,
        "claim": voting.claim_json(one, person_id),
        "created_at": write_moment(one.created_at),
        "expires_at": write_moment(one.expires_at),
        "expires_in_s": int(one.left_s),
        "may_approve": refusal is None,
        "why_not": {"code": refusal.code, "text": refusal.text} if refusal else None,
    }
