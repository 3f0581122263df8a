"""The internal endpoint: what the worker may ask, with an approval's id at most.

Nothing that a worker says is believed: settling verifies votes, quorum, digest,
decision and authority again from signed rows, and expiry goes by the database's clock.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Depends, Request

from broker import flow
from broker.api.identity import signing
from broker.api.security import service
from broker.approving import ending
from broker.core.approvals.votes import is_id
from broker.core.words.action import ActionState
from broker.core.words.approval import ApprovalState
from broker.core.words.errors import ForbiddenError, NotFoundError
from broker.core.words.subject import Caller
from broker.registry.channels import parse_service
from broker.registry.reading import RowError

if TYPE_CHECKING:
    from broker.ports import OnDesk, Ports

router = APIRouter(prefix="/internal", include_in_schema=False)
WORKER = "worker"


async def worker(request: Request, who: Annotated[Caller, Depends(service)]) -> Caller:
    """Admit services that are registered as workers.

    Raises:
        ForbiddenError: this one is for something else.
    """
    row = await request.app.state.desk.registry.get("service", who.subject_id)
    try:
        purpose = parse_service(row).purpose if row is not None else ""
    except RowError:
        purpose = ""
    if purpose != WORKER:
        msg = "this service is not registered as a worker"
        raise ForbiddenError(msg)
    return who


Worker = Annotated[Caller, Depends(worker)]


@router.get("/approvals/{approval_id}")
async def look(request: Request, approval_id: str, _who: Worker) -> dict[str, Any]:
    """Return where an approval is, and note that its run asked."""
    return _json(await ending.standing(_ports(request), _checked(approval_id)))


@router.post("/approvals/{approval_id}/settle")
async def settle(request: Request, approval_id: str, _who: Worker) -> dict[str, Any]:
    """Settle the action of an approval; everything is verified again."""
    ports = _ports(request)
    found = await ending.standing(ports, _checked(approval_id))
    # A task of its own: a worker that goes away in the middle cancels nothing.
    task = asyncio.create_task(flow.settle(ports, found.action_id))
    request.app.state.tasks.add(task)
    task.add_done_callback(request.app.state.tasks.discard)
    await asyncio.shield(task)
    return _json(await ending.standing(ports, approval_id))


@router.post("/approvals/{approval_id}/expire")
async def expire(request: Request, approval_id: str, _who: Worker) -> dict[str, Any]:
    """Do what time has made due, by the database's clock; end it if it is past."""
    return _json(await ending.expire(_ports(request), _checked(approval_id)))


@router.post("/keys/rotate-if-due")
async def rotate_if_due(request: Request, _who: Worker) -> dict[str, Any]:
    """Rotate the signing key if the signed row says that it is time."""
    return {"rotated": await signing.rotate_if_due(request.app.state.desk)}


def _ports(request: Request) -> Ports:
    ports: Ports = request.app.state.ports
    return ports


def _checked(approval_id: str) -> str:
    if not is_id(approval_id):
        msg = "there is no such approval"
        raise NotFoundError(msg)
    return approval_id


def _json(found: OnDesk) -> dict[str, Any]:
    action = found.action_state
    if found.state is ApprovalState.STALE:
        # Another question has taken its place, and has a run of its own.
        action = ActionState.REFUSED
    return {
        "approval": found.state.value,
        "action": action.value,
        # The next moment that matters, whatever it is: the run only keeps the time.
        "left_s": found.due_s,
    }
