"""Standing approvals over HTTP: proposed by one person, signed by another, taken back.

Each signature is made by the person's own key before it gets here. What is taken back
ends at once, also for what is already under way: the edge is told with the epoch.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Depends, Request
from pydantic import Field

from broker.api.bodies import Body, documented, read
from broker.api.identity.changes import Why, save_row, the_agent
from broker.api.security import person, person_row
from broker.core.words.errors import (
    ConflictError,
    ForbiddenError,
    InvalidError,
    NotFoundError,
)
from broker.core.words.moment import write_moment
from broker.core.words.subject import Caller
from broker.registry.agents import parse_agent
from broker.registry.authority import AuthorityRow
from broker.registry.people import Role
from broker.registry.reading import RowError
from broker.registry.standing import (
    SIGNATURE_CHARS_MAX,
    STANDING_AGENTS_MAX,
    STANDING_DAYS_MAX,
    STANDING_WAITING_MAX,
    check_may_sign,
    parse_standing_approval,
    standing_body,
)
from broker.registry.vigilance.rows import RIGHT_KIND, parse_right

if TYPE_CHECKING:
    from broker.api.identity.desk import Desk
    from broker.registry.people import PersonRow
    from broker.registry.standing import SignedStanding

router = APIRouter(prefix="/v1/admin/standing", tags=["standing approvals"])
Someone = Annotated[Caller, Depends(person)]
REASON_CHARS_MAX = 200

_UUID = r"^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$"
_KIND = "standing_approval"
_SEE = frozenset(Role) - {Role.OWNER}
_REVOKE = frozenset({Role.SUPERVISOR, Role.SECURITY, Role.ADMIN})
_SIGNATURE = Field(min_length=1, max_length=SIGNATURE_CHARS_MAX)


class Terms(Body):
    """What is signed in advance; ``id`` is chosen by who proposes, and signed too."""

    id: str = Field(pattern=_UUID)
    tool: str = Field(min_length=1, max_length=64)
    agents: list[str] = Field(min_length=1, max_length=STANDING_AGENTS_MAX)
    constraints: dict[str, dict[str, Any]] = Field(default_factory=dict)
    per_action_minor_units: int
    total_minor_units: int
    currency: str = Field(min_length=3, max_length=3)
    expires_at: str = Field(min_length=20, max_length=40)
    signature: str = _SIGNATURE
    reason: str = Field(default="", max_length=REASON_CHARS_MAX)


class SignatureBody(Body):
    """The second signature over the same terms."""

    signature: str = _SIGNATURE
    reason: str = Field(default="", max_length=REASON_CHARS_MAX)


class TakeBack(Body):
    """Why it ends; without personal data, because it stands in the log for good."""

    reason: str = Field(default="", max_length=REASON_CHARS_MAX)


@router.get("", summary="List standing approvals")
async def list_standing(request: Request, who: Someone) -> dict[str, Any]:
    """Return every standing approval whose row verifies, the first to end first."""
    desk = _desk(request)
    _require(await person_row(desk, who), _SEE)
    found = []
    for row in await desk.registry.list(_KIND):
        try:
            found.append(parse_standing_approval(row))
        except RowError:
            continue
    found.sort(key=lambda one: (one.approval.expires_at, one.approval.approval_id))
    return {"standing": [_shown(desk, one) for one in found]}


@router.get("/agents", summary="List the agents that one can be for")
async def list_agents(request: Request, who: Someone) -> dict[str, Any]:
    """Return active agents by name: id, name and use case, and nothing else of them."""
    desk = _desk(request)
    _require(await person_row(desk, who), _SEE)
    agents = []
    for row in await desk.registry.list("agent"):
        try:
            agent = parse_agent(row)
        except RowError:
            continue
        if agent.active:
            agents.append(agent)
    agents.sort(key=lambda agent: (agent.name, agent.agent_id))
    return {
        "agents": [
            {"id": one.agent_id, "name": one.name, "use_case": one.use_case}
            for one in agents
        ]
    }


@router.get("/{approval_id}", summary="Show a standing approval")
async def show_standing(
    request: Request, who: Someone, approval_id: str
) -> dict[str, Any]:
    """Return the terms, their digest and who signed them."""
    desk = _desk(request)
    _require(await person_row(desk, who), _SEE)
    return _shown(desk, await _the(desk, approval_id))


@router.post(
    "",
    status_code=201,
    summary="Propose a standing approval",
    openapi_extra=documented(Terms),
)
async def propose(request: Request, who: Someone) -> dict[str, Any]:
    """Keep terms that one person has signed; nothing holds until another one does."""
    desk = _desk(request)
    actor = await person_row(desk, who)
    body = await read(request, Terms)
    if await desk.registry.get(_KIND, body.id) is not None:
        msg = "there is a standing approval with this id"
        raise ConflictError(msg, hint="choose a fresh id")
    terms = body.model_dump(exclude={"id", "signature", "reason"})
    terms |= {
        "signed_by": [actor.person_id],
        "signatures": [body.signature],
        "status": "proposed",
    }
    signed = _read(desk, actor, body.id, terms)
    owners = await _owners(desk, signed)
    check_may_sign(actor, signed, body.signature, owners=owners, second=False)
    await _check_right(desk, actor)
    _check_time(desk, signed)
    await _check_waiting(desk, actor)
    why = Why(actor, "standing.propose", body.reason)
    row = await save_row(desk, why, place=(_KIND, body.id, 0), body=terms)
    return _shown(desk, parse_standing_approval(row))


@router.post(
    "/{approval_id}/sign",
    summary="Sign a standing approval that somebody proposed",
    openapi_extra=documented(SignatureBody),
)
async def sign(request: Request, who: Someone, approval_id: str) -> dict[str, Any]:
    """Add the second signature; from then on it holds."""
    desk = _desk(request)
    actor = await person_row(desk, who)
    body = await read(request, SignatureBody)
    signed = await _the(desk, approval_id)
    if signed.status != "proposed":
        msg = f"this standing approval is {signed.status}"
        raise ConflictError(msg, hint="look at it again")
    owners = await _owners(desk, signed)
    check_may_sign(actor, signed, body.signature, owners=owners)
    await _check_right(desk, actor)
    await _check_first(desk, signed, owners)
    _check_time(desk, signed)
    why = Why(actor, "standing.sign", body.reason)
    row = await save_row(
        desk,
        why,
        place=(_KIND, approval_id, signed.revision),
        body=standing_body(
            signed, add=(actor.person_id, body.signature), status="active"
        ),
        also_by=signed.approval.signed_by,
    )
    return _shown(desk, parse_standing_approval(row))


@router.post(
    "/{approval_id}/revoke",
    summary="Take a standing approval back",
    openapi_extra=documented(TakeBack),
)
async def revoke(request: Request, who: Someone, approval_id: str) -> dict[str, Any]:
    """End it at once; a request that has not left the edge does not leave it."""
    desk = _desk(request)
    actor = await person_row(desk, who)
    _require(actor, _REVOKE)
    body = await read(request, TakeBack)
    signed = await _the(desk, approval_id)
    if signed.status == "revoked":
        msg = "this standing approval was taken back already"
        raise ConflictError(msg)
    why = Why(actor, "standing.revoke", body.reason, narrows=True)
    row = await save_row(
        desk,
        why,
        place=(_KIND, approval_id, signed.revision),
        body=standing_body(signed, status="revoked"),
    )
    return _shown(desk, parse_standing_approval(row))


async def _the(desk: Desk, approval_id: str) -> SignedStanding:
    row = await desk.registry.get(_KIND, approval_id)
    try:
        if row is not None:
            return parse_standing_approval(row)
    except RowError:
        pass
    msg = "there is no such standing approval"
    raise NotFoundError(msg)


async def _owners(desk: Desk, signed: SignedStanding) -> list[str]:
    """Return who owns the agents; each must be active and have the tool."""
    owners = []
    for agent_id in sorted(signed.approval.agents):
        agent = await the_agent(desk, agent_id)
        if not agent.active or signed.approval.tool not in agent.tools:
            msg = f"agent {agent.name} is not active, or does not have this tool"
            raise InvalidError(msg, pointer="/agents")
        owners.append(agent.owner)
    return owners


async def _check_first(desk: Desk, signed: SignedStanding, owners: list[str]) -> None:
    """Require that who proposed it still may sign it: two have to stand behind it."""
    (first,) = signed.approval.signed_by
    row = await desk.identities.person(first)
    if row is None:
        msg = "whoever proposed it is not there any more"
        raise ConflictError(msg, hint="propose it anew")
    try:
        (signature,) = signed.signatures
        check_may_sign(row, signed, signature, owners=owners, second=False)
        await _check_right(desk, row)
    except (ForbiddenError, InvalidError) as error:
        msg = "whoever proposed it may not sign that any more"
        raise ConflictError(msg, hint="propose it anew") from error


async def _check_right(desk: Desk, who: PersonRow) -> None:
    """Require that this person's right to approve is not suspended."""
    row = await desk.registry.get(RIGHT_KIND, who.person_id)
    try:
        suspended = row is not None and parse_right(row).suspended
    except RowError:
        suspended = True
    if suspended:
        msg = "this person's right to approve is suspended"
        raise ForbiddenError(
            msg, hint="two others give it back, or somebody else signs"
        )


async def _check_waiting(desk: Desk, actor: PersonRow) -> None:
    if await desk.registry.waiting(_KIND, actor.person_id) >= STANDING_WAITING_MAX:
        msg = f"{STANDING_WAITING_MAX} proposals of this person wait already"
        raise ConflictError(msg, hint="have one signed, or take one back")


def _check_time(desk: Desk, signed: SignedStanding) -> None:
    now, ends = desk.clock.now(), signed.approval.expires_at
    if not now < ends <= now + timedelta(days=STANDING_DAYS_MAX):
        msg = f"it must end within the next {STANDING_DAYS_MAX} days"
        raise InvalidError(msg, pointer="/expires_at")


def _read(
    desk: Desk, actor: PersonRow, row_id: str, body: dict[str, Any]
) -> SignedStanding:
    row = AuthorityRow(
        kind=_KIND,
        row_id=row_id,
        revision=0,
        at=desk.clock.now(),
        by=(f"person:{actor.person_id}",),
        tenant=desk.tenant,
        environment=desk.environment,
        body=body,
    )
    try:
        signed = parse_standing_approval(row)
    except RowError as error:
        raise InvalidError(str(error)) from None
    if standing_body(signed, status="proposed") != body:
        msg = "agents must be in order, and the end written in UTC with microseconds"
        raise InvalidError(msg, hint="send the terms as the client writes them")
    return signed


def _shown(desk: Desk, signed: SignedStanding) -> dict[str, Any]:
    approval = signed.approval
    ended = approval.expires_at <= desk.clock.now()
    state = "expired" if ended and signed.status != "revoked" else signed.status
    return {
        "id": approval.approval_id,
        "state": state,
        "revision": signed.revision,
        "tool": approval.tool,
        "agents": sorted(approval.agents),
        "constraints": dict(approval.constraints),
        "per_action_minor_units": approval.per_action_minor_units,
        "total_minor_units": approval.total_minor_units,
        "currency": approval.currency,
        "expires_at": write_moment(approval.expires_at),
        "signed_by": list(approval.signed_by),
        "digest": signed.digest,
    }


def _require(actor: PersonRow, roles: frozenset[Role]) -> None:
    if not actor.active or not actor.roles & roles:
        msg = f"this needs a role of: {', '.join(sorted(roles))}"
        raise ForbiddenError(msg)


def _desk(request: Request) -> Desk:
    desk: Desk = request.app.state.desk
    return desk
