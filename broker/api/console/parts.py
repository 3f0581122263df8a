"""What the console's paths share: who asks, their form, and what pages show."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qsl

from starlette.responses import HTMLResponse, RedirectResponse, Response

from broker.api.bodies import read_bytes
from broker.api.console import drawing, sessions
from broker.api.console.filters import address_of, wanted_by
from broker.approving import console, listing
from broker.core.approvals.questions import QUESTION_CHARS_MAX, QUESTIONS_MAX
from broker.core.approvals.votes import is_id
from broker.core.words.approval import ApprovalState
from broker.core.words.errors import (
    InvalidError,
    MalformedError,
    NotFoundError,
    UnauthenticatedError,
)

if TYPE_CHECKING:
    from fastapi import Request

    from broker.api.console.room import Room
    from broker.api.console.sessions import Session
    from broker.api.identity.desk import Desk
    from broker.ports import Ports

FORM_BYTES_MAX: Final = 16_384
FORM_FIELDS_MAX: Final = 8
SIGN_IN: Final = "/console/sign-in"


def ports_of(request: Request) -> Ports:
    """Return what the flow uses."""
    ports: Ports = request.app.state.ports
    return ports


def room_of(request: Request) -> Room:
    """Return what the console is made of."""
    room: Room = request.app.state.console
    return room


def desk_of(request: Request) -> Desk:
    """Return what knows people and their keys."""
    desk: Desk = request.app.state.desk
    return desk


async def session_of(request: Request) -> Session | None:
    """Return the session of whoever asks; None if nobody is signed in."""
    try:
        return await sessions.current(request)
    except UnauthenticatedError:
        return None


def way_in(request: Request) -> Response:
    """Send somebody without a session to the way in, also from within a page."""
    headers = drawing.security_headers()
    if request.headers.get("hx-request"):
        return HTMLResponse("", 401, {**headers, "HX-Redirect": SIGN_IN})
    return RedirectResponse(SIGN_IN, 303, headers)


async def form_of(request: Request) -> dict[str, str]:
    """Return a form's fields.

    Raises:
        MalformedError: it is no form, names a field twice, or has too many.
    """
    return once(await fields_of(request, fields_max=FORM_FIELDS_MAX))


def once(pairs: list[tuple[str, str]]) -> dict[str, str]:
    """Return fields by name.

    Raises:
        MalformedError: a field is there twice.
    """
    if len(dict(pairs)) != len(pairs):
        msg = "a field is there twice"
        raise MalformedError(msg)
    return dict(pairs)


async def fields_of(request: Request, *, fields_max: int) -> list[tuple[str, str]]:
    """Return a form's fields as they came.

    Raises:
        MalformedError: it is no form, or has too many.
    """
    media_type = request.headers.get("content-type", "").partition(";")[0].strip()
    if media_type != "application/x-www-form-urlencoded":
        msg = "a form is expected here"
        raise MalformedError(msg)
    data = await read_bytes(request, bytes_max=FORM_BYTES_MAX)
    try:
        return parse_qsl(
            data.decode(), keep_blank_values=True, max_num_fields=fields_max
        )
    except ValueError:
        msg = f"a form has up to {fields_max} fields in UTF-8"
        raise MalformedError(msg) from None


def checked_id(approval_id: str) -> str:
    """Return an approval's id.

    Raises:
        NotFoundError: it is none.
    """
    if not is_id(approval_id):
        msg = "there is no such approval for you"
        raise NotFoundError(msg)
    return approval_id


def who(session: Session) -> dict[str, Any]:
    """Return who looks, and what their forms carry."""
    return {"csrf": session.csrf, "me": session.caller.subject_id}


async def queue(
    request: Request, session: Session, *, selected: str = ""
) -> dict[str, Any]:
    """Return what a page shows of the queue, from where its address says."""
    ports, caller = ports_of(request), session.caller
    row = await desk_of(request).identities.person(caller.subject_id)
    asked_for = request.query_params.get("selected", "")
    wanted = wanted_by(request.query_params)
    try:
        found = await listing.page(ports, caller, wanted)
    except InvalidError:
        # A cursor that is none of ours, or of another order: the list begins anew.
        wanted = replace(wanted, cursor="")
        found = await listing.page(ports, caller, wanted)
    first = replace(wanted, cursor="")
    after = replace(wanted, cursor=found.cursor)
    return who(session) | {
        "waiting": found.waiting,
        "wanted": wanted,
        "filters": address_of(wanted),
        "first": address_of(first),
        "next": address_of(after) if found.cursor else "",
        "marked": request.query_params.getlist("marked"),
        "ended": await console.lately(ports, caller),
        "name": row.name if row else "",
        "selected": selected or asked_for,
    }


def card(seen: console.Seen) -> dict[str, Any]:
    """Return what a page shows of a card."""
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
        "reason": "",
        "question": "",
        "told": "",
        "question_chars_max": QUESTION_CHARS_MAX,
        "questions_max": QUESTIONS_MAX,
    }


async def answered(
    request: Request, session: Session, approval_id: str, said: dict[str, Any]
) -> Response:
    """Return the card after a form: alone to a script, else as a page.

    Args:
        request: The form's.
        session: Whose form it is.
        approval_id: The card's.
        said: What the card says of the form; ``shown`` is what the card was before, if
            it counts that it is another one now, ``error`` why nothing was done.
    """
    scripted, failed = bool(request.headers.get("hx-request")), said["error"]
    if not scripted and failed is None:
        # What a browser loads again must not be sent again.
        address = f"/console/approvals/{approval_id}"
        return RedirectResponse(address, 303, drawing.security_headers())
    seen = await console.look(
        ports_of(request), session.caller, approval_id, session=session.ticket
    )
    before, status = said.pop("shown", ""), failed.status if failed else 200
    changed = seen.card is not None and before not in {"", seen.card["shown"]}
    values = card(seen) | who(session) | {"changed": changed} | said
    if scripted:
        return drawing.page("card.html", values, status=status)
    around = await queue(request, session, selected=approval_id)
    return drawing.page("card_page.html", around | values, status=status)
