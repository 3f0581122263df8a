"""The console's paths: pages, parts of pages, votes, and the way in and out."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Final
from urllib.parse import parse_qsl

from fastapi import APIRouter, Depends, Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from broker.api.bodies import read_bytes
from broker.api.console import drawing, sessions
from broker.api.console.assets import FOREVER, asset, asset_tag
from broker.api.console.events import session_lasts, stream
from broker.api.console.filters import address_of, wanted_by
from broker.api.console.sessions import Session
from broker.api.security import person
from broker.approving import console, listing
from broker.core.approvals.votes import is_id
from broker.core.words.approval import ApprovalState, VoteWord
from broker.core.words.errors import (
    ApprovalStaleError,
    BrokerError,
    InvalidError,
    MalformedError,
    NotFoundError,
    UnauthenticatedError,
)
from broker.core.words.moment import write_moment
from broker.core.words.subject import Caller

if TYPE_CHECKING:
    from broker.api.console.room import Room
    from broker.api.identity.desk import Desk
    from broker.ports import Ports

router = APIRouter(tags=["console"])
FORM_BYTES_MAX: Final = 16_384
FORM_FIELDS_MAX: Final = 8
SIGN_IN: Final = "/console/sign-in"
Someone = Annotated[Caller, Depends(person)]


@router.post(
    "/v1/console/links", status_code=201, summary="Get a link into the console"
)
async def make_link(request: Request, who: Someone) -> dict[str, Any]:
    """Return a link that signs you in once; in demo states only."""
    url, expires_at = await sessions.make_link(_room(request), _desk(request), who)
    return {"url": url, "expires_at": write_moment(expires_at)}


# ---------------------------------------------------------------------- in and out


@router.get(SIGN_IN, include_in_schema=False)
async def show_sign_in(request: Request) -> Response:
    """Show the page whose script posts the link's secret."""
    return drawing.page("sign_in.html", {"demo": _room(request).key is not None})


@router.post(SIGN_IN, include_in_schema=False)
async def sign_in(request: Request) -> Response:
    """Exchange a link for a session, and go to the queue."""
    sessions.check_same_site(request)
    form = await _form(request)
    room = _room(request)
    try:
        secret, life_s = await sessions.use_link(
            room, _desk(request), form.get("link", "")
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
    form = await _form(request)
    session = await sessions.changing(request, form.get("csrf", ""))
    await sessions.sign_out(request, session)
    answer = RedirectResponse(SIGN_IN, 303, drawing.security_headers())
    answer.delete_cookie(_room(request).cookie, path="/")
    return answer


# --------------------------------------------------------------------------- pages


@router.get("/console", include_in_schema=False)
async def show_queue(request: Request) -> Response:
    """Show what waits for this person."""
    session = await _session(request)
    if session is None:
        return _way_in(request)
    values = await _queue(request, session)
    return drawing.page("queue_page.html", values)


@router.get("/console/queue", include_in_schema=False)
async def queue(request: Request) -> Response:
    """Return the queue alone, to be swapped in; ``selected`` is on the screen."""
    session = await _session(request)
    if session is None:
        return _way_in(request)
    return drawing.page("queue.html", await _queue(request, session))


@router.get("/console/approvals/{approval_id}", include_in_schema=False)
async def show_card(request: Request, approval_id: str) -> Response:
    """Show one card beside the queue."""
    session = await _session(request)
    if session is None:
        return _way_in(request)
    values = await _queue(request, session, selected=approval_id)
    try:
        seen = await console.look(
            _ports(request),
            session.caller,
            _id(approval_id),
            session=session.ticket,
        )
    except NotFoundError as error:
        values |= {"error": error}
        return drawing.page("queue_page.html", values, status=404)
    return drawing.page("card_page.html", values | _card(seen))


@router.get("/console/approvals/{approval_id}/now", include_in_schema=False)
async def show_now(request: Request, approval_id: str) -> Response:
    """Return how things stand, and whether the card on the screen is still the one.

    The reason that somebody is writing stays where it is: only what is live is swapped.
    """
    session = await _session(request)
    if session is None:
        return _way_in(request)
    seen = await console.look(_ports(request), session.caller, _id(approval_id))
    values = _card(seen) | _who(session)
    shown = request.query_params.get("shown", "")
    if seen.card is not None and shown != seen.card["shown"]:
        values["changed"] = True
    return drawing.page("now.html", values)


@router.post("/console/approvals/{approval_id}/votes", include_in_schema=False)
async def vote(request: Request, approval_id: str) -> Response:
    """Sign a vote for the person in this session; return the card as it is then."""
    form = await _form(request)
    try:
        session = await sessions.changing(request, form.get("csrf", ""))
    except UnauthenticatedError:
        return _way_in(request)
    ports, status = _ports(request), 200
    said: dict[str, Any] = {}
    try:
        choice = _choice(_id(approval_id), form)
        counted = await console.vote(ports, session.caller, session.ticket, choice)
        said["counted"] = {"word": choice.word.value, "state": counted.state.value}
    except BrokerError as error:
        status, said["error"] = error.status, error
        # What they wrote is not lost; what they looked at is not what is asked.
        said["reason"] = form.get("reason", "")
        said["changed"] = isinstance(error, ApprovalStaleError)
    seen = await console.look(ports, session.caller, _id(approval_id))
    values = _card(seen) | said | _who(session)
    return drawing.page("card.html", values, status=status)


@router.get("/console/events", include_in_schema=False)
async def events(request: Request) -> Response:
    """Say that something changed, for as long as the session lasts."""
    session = await _session(request)
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


# ------------------------------------------------------------------------ the parts


def _ports(request: Request) -> Ports:
    ports: Ports = request.app.state.ports
    return ports


def _room(request: Request) -> Room:
    room: Room = request.app.state.console
    return room


def _desk(request: Request) -> Desk:
    desk: Desk = request.app.state.desk
    return desk


async def _session(request: Request) -> Session | None:
    try:
        return await sessions.current(request)
    except UnauthenticatedError:
        return None


def _way_in(request: Request) -> Response:
    """Send somebody without a session to the way in, also from within a page."""
    headers = drawing.security_headers()
    if request.headers.get("hx-request"):
        return HTMLResponse("", 401, {**headers, "HX-Redirect": SIGN_IN})
    return RedirectResponse(SIGN_IN, 303, headers)


async def _form(request: Request) -> dict[str, str]:
    """Return a form's fields.

    Raises:
        MalformedError: it is no form, names a field twice, or has too many.
    """
    media_type = request.headers.get("content-type", "").partition(";")[0].strip()
    if media_type != "application/x-www-form-urlencoded":
        msg = "a form is expected here"
        raise MalformedError(msg)
    data = await read_bytes(request, bytes_max=FORM_BYTES_MAX)
    try:
        pairs = parse_qsl(
            data.decode(), keep_blank_values=True, max_num_fields=FORM_FIELDS_MAX
        )
    except ValueError:
        msg = f"a form has up to {FORM_FIELDS_MAX} fields in UTF-8"
        raise MalformedError(msg) from None
    if len(dict(pairs)) != len(pairs):
        msg = "a field is there twice"
        raise MalformedError(msg)
    return dict(pairs)


def _id(approval_id: str) -> str:
    if not is_id(approval_id):
        msg = "there is no such approval for you"
        raise NotFoundError(msg)
    return approval_id


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


def _who(session: Session) -> dict[str, Any]:
    return {"csrf": session.csrf, "me": session.caller.subject_id}


async def _queue(
    request: Request, session: Session, *, selected: str = ""
) -> dict[str, Any]:
    ports, caller = _ports(request), session.caller
    row = await _desk(request).identities.person(caller.subject_id)
    asked_for = request.query_params.get("selected", "")
    wanted = wanted_by(request.query_params)
    return _who(session) | {
        "waiting": (await listing.page(ports, caller, wanted)).waiting,
        "wanted": wanted,
        "filters": address_of(wanted),
        "ended": await console.lately(ports, caller),
        "name": row.name if row else "",
        "selected": selected or asked_for,
    }


def _card(seen: console.Seen) -> dict[str, Any]:
    desk = seen.desk
    ended = desk.state is not ApprovalState.PENDING
    # Past its expiry it cannot be signed any more, also before a sweeper says so.
    lapsed = not ended and desk.left_s <= 0
    if lapsed:
        desk = replace(desk, state=ApprovalState.EXPIRED)
    return {
        "desk": desk,
        "card": seen.card,
        "stale": seen.stale,
        "open": seen.card is not None and not ended and not lapsed,
        "changed": False,
        "error": None,
        "counted": None,
        "reason": "",
    }
