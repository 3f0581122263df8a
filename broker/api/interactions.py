"""Interactions over HTTP: for channels only; the assertion is the whole credential."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Request
from pydantic import Field

from broker import conversation
from broker.api.bodies import Body, documented, read
from broker.approving import confirming
from broker.core.words.moment import write_moment

if TYPE_CHECKING:
    from broker.ports import Ports

router = APIRouter(prefix="/v1/interactions", tags=["interactions"])
ASSERTION_CHARS_MAX = 32_768


class AssertionBody(Body):
    """A channel's signed assertion (compact JWS)."""

    assertion: str = Field(max_length=ASSERTION_CHARS_MAX)


@router.post(
    "",
    status_code=201,
    summary="Open an interaction",
    openapi_extra=documented(AssertionBody),
)
async def open_interaction(request: Request) -> dict[str, Any]:
    """Open the interaction that the channel's assertion describes."""
    body = await read(request, AssertionBody)
    ports: Ports = request.app.state.ports
    opened = await conversation.open_interaction(
        ports, body.assertion, issuer=request.app.state.issuer
    )
    return {
        "interaction": opened.interaction_id,
        "agent": opened.agent_id,
        "customer_bound": opened.bound,
        "verification_level": int(opened.verification),
    }


@router.post(
    "/{interaction_id}/turns",
    status_code=201,
    summary="Report what was said",
    openapi_extra=documented(AssertionBody),
)
async def add_turn(request: Request, interaction_id: str) -> dict[str, Any]:
    """Keep a turn: the customer's words on approval cards come from here only."""
    body = await read(request, AssertionBody)
    ports: Ports = request.app.state.ports
    turn_id = await conversation.add_turn(
        ports, interaction_id, body.assertion, issuer=request.app.state.issuer
    )
    return {"turn": turn_id}


@router.post(
    "/{interaction_id}/end",
    summary="End an interaction",
    openapi_extra=documented(AssertionBody),
)
async def end_interaction(request: Request, interaction_id: str) -> dict[str, Any]:
    """End it for good: no agent begins anything in it any more."""
    body = await read(request, AssertionBody)
    ports: Ports = request.app.state.ports
    ended = await conversation.end_interaction(
        ports, interaction_id, body.assertion, issuer=request.app.state.issuer
    )
    assert ended.closed_at is not None  # noqa: S101  (it was just closed)
    return {
        "interaction": ended.interaction_id,
        "ended_at": write_moment(ended.closed_at),
    }


@router.post(
    "/{interaction_id}/confirmations/waiting",
    summary="List what the customer has to confirm",
    openapi_extra=documented(AssertionBody),
)
async def list_confirmations(request: Request, interaction_id: str) -> dict[str, Any]:
    """Return the approvals of an interaction that ask its customer as well."""
    body = await read(request, AssertionBody)
    ports: Ports = request.app.state.ports
    found = await confirming.waiting(
        ports, interaction_id, body.assertion, issuer=request.app.state.issuer
    )
    return {"waiting": found}


@router.post(
    "/{interaction_id}/confirmations",
    status_code=201,
    summary="Report what the customer said to an approval",
    openapi_extra=documented(AssertionBody),
)
async def add_confirmation(request: Request, interaction_id: str) -> dict[str, Any]:
    """Count the customer's yes or no; the channel that opened the interaction signs."""
    body = await read(request, AssertionBody)
    ports: Ports = request.app.state.ports
    counted = await confirming.confirm(
        ports, interaction_id, body.assertion, issuer=request.app.state.issuer
    )
    return {
        "approval": counted.approval_id,
        "confirmation": counted.vote_id,
        "state": counted.state.value,
    }
