"""The console's paths: pages, parts of pages, votes, and the way in and out."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from starlette.responses import RedirectResponse, Response

from broker.api.console import drawing, parts, sessions
from broker.api.console.assets import FOREVER, asset, asset_tag
from broker.api.console.events import session_lasts, stream
from broker.api.security import person
from broker.approving import console
from broker.core.words.approval import VoteWord
from broker.core.words.errors import (
    ApprovalStaleError,
    BrokerError,
    InvalidError,
    NotFoundError,
    UnauthenticatedError,
)
from broker.core.words.moment import write_moment
from broker.core.words.subject import Caller

router = APIRouter(tags=["console"])
Someone = Annotated[Caller, Depends(person)]


@router.post(
    "/v1/console/links", status_code=201, summary="Get a link into the console"
)
async def make_link(request: Request, who: Someone) -> dict[str, Any]:
    """Return a link that signs you in once; in demo states only."""
    url, expires_at = await sessions.make_link(
        parts.room_of(request), parts.desk_of(request), who
    )
    return {"url": url, "expires_at": write_moment(expires_at)}


# ---------------------------------------------------------------------- in and out


@router.get(parts.SIGN_IN, include_in_schema=False)
async def show_sign_in(request: Request) -> Response:
    """Show the page whose script posts the link's secret."""
    return drawing.page(
        "sign_in.html", {"demo": parts.room_of(request).key is not None}
    )


@router.post(parts.SIGN_IN, include_in_schema=False)
async def sign_in(request: Request) -> Response:
    """Exchange a link for a session, and go to the queue."""
    sessions.check_same_site(request)
    form = await parts.form_of(request)
    room = parts.room_of(request)
    try:
        secret, life_s = await sessions.use_link(
            room, parts.desk_of(request), _secret_of(form.get("link", ""))
        )
    except BrokerError as error:
        values = {"demo": room.key is not None, "error": error}
        return drawing.page("sign_in.html", values, status=error.status)
    answer = RedirectResponse("/console", 303, drawing.security_headers())
    answer.set_cookie(
        room.cookie,
        secret,
        max_age=life_s,
        path="/",
        secure=room.secure,
        httponly=True,
        samesite="strict",
    )
    return answer


@router.post("/console/sign-out", include_in_schema=False)
async def sign_out(request: Request) -> Response:
    """End the session, and show the way in."""
    form = await parts.form_of(request)
    session = await sessions.changing(request, form.get("csrf", ""))
    await sessions.sign_out(request, session)
    answer = RedirectResponse(parts.SIGN_IN, 303, drawing.security_headers())
    answer.delete_cookie(parts.room_of(request).cookie, path="/")
    return answer


# --------------------------------------------------------------------------- pages


@router.get("/console", include_in_schema=False)
async def show_queue(request: Request) -> Response:
    """Show what waits for this person."""
    session = await parts.session_of(request)
    if session is None:
        return parts.way_in(request)
    values = await parts.queue(request, session)
    return drawing.page("queue_page.html", values)


@router.get("/console/queue", include_in_schema=False)
async def queue(request: Request) -> Response:
    """Return the queue alone, to be swapped in; ``selected`` is on the screen."""
    session = await parts.session_of(request)
    if session is None:
        return parts.way_in(request)
    return drawing.page("queue.html", await parts.queue(request, session))


@router.get("/console/approvals/{approval_id}", include_in_schema=False)
async def show_card(request: Request, approval_id: str) -> Response:
    """Show one card beside the queue."""
    session = await parts.session_of(request)
    if session is None:
        return parts.way_in(request)
    values = await parts.queue(request, session, selected=approval_id)
    try:
        seen = await console.look(
            parts.ports_of(request),
            session.caller,
            parts.checked_id(approval_id),
            session=session.ticket,
        )
    except NotFoundError as error:
        values |= {"error": error}
        return drawing.page("queue_page.html", values, status=404)
    return drawing.page("card_page.html", values | parts.card(seen))


@router.get("/console/approvals/{approval_id}/now", include_in_schema=False)
async def show_now(request: Request, approval_id: str) -> Response:
    """Return how things stand, and whether the card on the screen is still the one.

    The reason that somebody is writing stays where it is: only what is live is swapped.
    """
    session = await parts.session_of(request)
    if session is None:
        return parts.way_in(request)
    seen = await console.look(
        parts.ports_of(request), session.caller, parts.checked_id(approval_id)
    )
    values = parts.card(seen) | parts.who(session)
    shown = request.query_params.get("shown", "")
    if seen.card is not None and shown != seen.card["shown"]:
        values["changed"] = True
    return drawing.page("now.html", values)


@router.post("/console/approvals/{approval_id}/votes", include_in_schema=False)
async def vote(request: Request, approval_id: str) -> Response:
    """Sign a vote for the person in this session; return the card as it is then."""
    form = await parts.form_of(request)
    try:
        session = await sessions.changing(request, form.get("csrf", ""))
    except UnauthenticatedError:
        return parts.way_in(request)
    ports, mine = parts.ports_of(request), parts.checked_id(approval_id)
    said: dict[str, Any] = {"error": None}
    try:
        choice = _choice(mine, form)
        await console.vote(ports, session.caller, session.ticket, choice)
    except BrokerError as error:
        # What they wrote is not lost; what they looked at is not what is asked.
        said = {"error": error, "reason": form.get("reason", "")}
        said["changed"] = isinstance(error, ApprovalStaleError)
    return await parts.answered(request, session, mine, said)


@router.get("/console/events", include_in_schema=False)
async def events(request: Request) -> Response:
    """Say that something changed, for as long as the session lasts."""
    session = await parts.session_of(request)
    if session is None:
        return Response(status_code=401, headers=drawing.security_headers())
    return stream(request, signed_in=partial(session_lasts, request))


@router.get("/console/assets/{tag}/{name}", include_in_schema=False)
async def show_asset(tag: str, name: str) -> Response:
    """Return an asset under the name that stands for its content."""
    found = asset(name)
    if found is None or tag != asset_tag(name):
        msg = "there is no such file"
        raise NotFoundError(msg, hint="load the page again")
    headers = drawing.security_headers() | {"Cache-Control": FOREVER}
    return Response(found[1], media_type=found[0], headers=headers)


def _secret_of(link: str) -> str:
    """Return what stands after the # of a link, or the whole if there is none.

    The page's script sends the secret alone; without one, people paste the link.
    """
    return link.strip().rpartition("#")[2]


def _choice(approval_id: str, form: dict[str, str]) -> console.Choice:
    if form.get("word") not in {*VoteWord}:
        msg = "a vote is approve or reject"
        raise InvalidError(msg, pointer="/word")
    return console.Choice(
        approval_id=approval_id,
        word=VoteWord(form["word"]),
        digest=form.get("digest", ""),
        shown=form.get("shown", ""),
        reason=" ".join(form.get("reason", "").split()),
    )
