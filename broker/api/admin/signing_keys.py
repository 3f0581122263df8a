"""The broker's own keys over HTTP: looked at, rotated, dropped when compromised."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Depends, Request

from broker.api.admin.registry import ReasonBody
from broker.api.bodies import documented, read
from broker.api.identity import signing
from broker.api.identity.changes import Why
from broker.api.identity.widening.staleness import found, stale_json
from broker.api.security import person, person_row
from broker.core.words.errors import InvalidError
from broker.core.words.moment import write_moment
from broker.core.words.subject import Caller
from broker.registry.people import check_may_narrow, check_may_see

if TYPE_CHECKING:
    from datetime import datetime

    from broker.api.identity.desk import Desk
    from broker.core.identity.signing_keys import Ring
    from broker.registry.keys.ages import OwnKey

router = APIRouter(prefix="/v1/admin/keys", tags=["registry"])
Someone = Annotated[Caller, Depends(person)]


@router.get("", summary="List the broker's own keys")
async def list_keys(request: Request, who: Someone) -> dict[str, Any]:
    """Return the ring of signing keys, and what other keys this broker has."""
    desk: Desk = request.app.state.desk
    check_may_see(await person_row(desk, who))
    _, ring = await signing.the_ring(desk)
    now = desk.clock.now()
    own = [_own_json(key, now) for key in desk.own_keys()]
    return _json(desk, ring) | {"own": own}


@router.get("/stale", summary="List agents' keys and identities that should go")
async def list_stale(request: Request, who: Someone) -> dict[str, Any]:
    """Return keys past their age, and agents that nobody has used for a month."""
    desk: Desk = request.app.state.desk
    check_may_see(await person_row(desk, who))
    return {"stale": [stale_json(one) for one in await found(desk)]}


@router.post(
    "/rotate", summary="Rotate the signing key", openapi_extra=documented(ReasonBody)
)
async def rotate(request: Request, who: Someone) -> dict[str, Any]:
    """Let the pending key sign as soon as everybody knows it; no token ends."""
    desk: Desk = request.app.state.desk
    actor = await person_row(desk, who)
    check_may_narrow(actor)
    body = await read(request, ReasonBody)
    why = Why(actor, "signing_key.rotate", body.reason)
    return _json(desk, await signing.rotate(desk, why))


@router.post(
    "/{kid}/compromised",
    summary="Drop a signing key at once",
    openapi_extra=documented(ReasonBody),
)
async def compromised(request: Request, who: Someone, kid: str) -> dict[str, Any]:
    """Drop a key that somebody else has, and end every access token.

    A reason is required: it stands in the log. Agents get new tokens by themselves.
    """
    desk: Desk = request.app.state.desk
    actor = await person_row(desk, who)
    check_may_narrow(actor)
    body = await read(request, ReasonBody)
    if not body.reason.strip():
        msg = "a reason is needed, without personal data"
        raise InvalidError(msg, pointer="/reason")
    why = Why(actor, "signing_key.compromised", body.reason, narrows=True)
    return _json(desk, await signing.compromise(desk, kid, why))


def _json(desk: Desk, ring: Ring) -> dict[str, Any]:
    return {"keys": [signing.key_json(desk, key) for key in ring.keys]}


def _own_json(key: OwnKey, now: datetime) -> dict[str, Any]:
    return {
        "name": key.name,
        "kid": key.kid,
        "algorithm": key.algorithm,
        "made_at": write_moment(key.made_at),
        "age_days": (now - key.made_at).days,
        "too_old": key.too_old(now),
    }
