"""Who sits at the console: one-time links, sessions, and requests that are theirs.

A link is asked for with the person's own key, works once and for five minutes, and is
exchanged for a session cookie. Both are random secrets; what they allow was signed by
the broker and is read from the row under their hash.

Source: OWASP ASVS 5.0, chapters 3 and 7; OWASP cheat sheet on CSRF (synchroniser token,
fetch metadata).
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, replace
from datetime import timedelta
from hashlib import sha256
from hmac import compare_digest
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from broker.api.identity.evidence import entry_of
from broker.core.identity.tickets import (
    LINK_LIFE_S_MAX,
    SESSION_LIFE_S_MAX,
    TICKET_SECRET_BYTES,
    Ticket,
    TicketKind,
    read_ticket,
    ticket_claims,
    ticket_name,
)
from broker.core.jws import sign
from broker.core.words.entry import EntryKind
from broker.core.words.errors import ForbiddenError, UnauthenticatedError
from broker.core.words.identity import AccessToken
from broker.core.words.moment import write_moment
from broker.core.words.subject import Caller, Grant, SubjectKind

if TYPE_CHECKING:
    from datetime import datetime

    from fastapi import Request

    from broker.api.console.room import Room
    from broker.api.identity.desk import Desk
    from broker.core.jwk import PrivateKey

SECRET_CHARS_MAX: Final = 100
_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})


@dataclass(frozen=True, slots=True)
class Session:
    """A signed-in person; ``csrf`` must come back with whatever they change."""

    caller: Caller
    ticket: Ticket
    csrf: str


async def make_link(room: Room, desk: Desk, who: Caller) -> tuple[str, datetime]:
    """Return a link that lets this person in once, and when it ends.

    Raises:
        ForbiddenError: this installation lets nobody in by a link.
    """
    key = _key(room)
    now = desk.clock.now()
    secret, name = _secret(TicketKind.LINK)
    ticket = Ticket(
        kind=TicketKind.LINK,
        name=name.hex(),
        ticket_id=desk.ids.new(),
        person_id=who.subject_id,
        kid=who.kid,
        strength="link",
        epochs=who.epochs,
        issued_at=now,
        expires_at=now + timedelta(seconds=LINK_LIFE_S_MAX),
    )
    await _keep(room, desk, ticket, key=key, name=name)
    # After the #: no server, proxy or log ever sees it.
    return f"{room.issuer}/console/sign-in#{secret}", ticket.expires_at


async def use_link(room: Room, desk: Desk, secret: str) -> tuple[str, int]:
    """Exchange a link for a session; return its secret and its life in seconds.

    Raises:
        UnauthenticatedError: it was used before, is too old, or is no link of ours.
        ForbiddenError: this installation lets nobody in by a link.
    """
    key = _key(room)
    now = desk.clock.now()
    name = ticket_name(TicketKind.LINK, secret[:SECRET_CHARS_MAX])
    signed = await room.tickets.end(name, kind=TicketKind.LINK.value)
    if signed is None:
        raise _used_up()
    try:
        link = read_ticket(
            signed,
            kind=TicketKind.LINK,
            name=name,
            keys={key.kid: key.public()},
            now=now,
        )
    except UnauthenticatedError:
        raise _used_up() from None
    await _still_stands(desk, link)
    fresh, own_name = _secret(TicketKind.SESSION)
    session = replace(
        link,
        kind=TicketKind.SESSION,
        name=own_name.hex(),
        ticket_id=desk.ids.new(),
        issued_at=now,
        expires_at=now + timedelta(seconds=SESSION_LIFE_S_MAX),
    )
    await _keep(room, desk, session, key=key, name=own_name)
    return fresh, SESSION_LIFE_S_MAX


async def current(request: Request) -> Session:
    """Return the session of whoever asks.

    Raises:
        UnauthenticatedError: there is none, it has ended, or the person was revoked.
    """
    room, desk = _rooms(request)
    secret = request.cookies.get(room.cookie, "")
    if not secret or room.key is None:
        msg = "nobody is signed in"
        raise UnauthenticatedError(msg, hint="get a link with `counterfoil console`")
    name = ticket_name(TicketKind.SESSION, secret[:SECRET_CHARS_MAX])
    signed = await room.tickets.find(name, kind=TicketKind.SESSION.value)
    ticket = read_ticket(
        signed or "",
        kind=TicketKind.SESSION,
        name=name,
        keys={room.key.kid: room.key.public()},
        now=desk.clock.now(),
    )
    await _still_stands(desk, ticket)
    return Session(_caller(desk, ticket), ticket, _csrf(secret))


async def changing(request: Request, csrf: str) -> Session:
    """Return the session of whoever wants to change something.

    Raises:
        UnauthenticatedError: as of ``current``.
        ForbiddenError: another site sent this.
    """
    check_same_site(request)
    session = await current(request)
    if not compare_digest(csrf.encode(), session.csrf.encode()):
        msg = "this page belongs to another session"
        raise ForbiddenError(msg, hint="load the page again")
    return session


async def sign_out(request: Request, session: Session) -> None:
    """End a session for good, on every replica."""
    room, _ = _rooms(request)
    name = bytes.fromhex(session.ticket.name)
    await room.tickets.end(name, kind=TicketKind.SESSION.value)


def check_same_site(request: Request) -> None:
    """Require that a page of ours sent this, by what browsers say of themselves.

    Raises:
        ForbiddenError: it was another site, or nobody says.
    """
    room, desk = _rooms(request)
    origin = request.headers.get("origin", "")
    site = request.headers.get("sec-fetch-site", "")
    ours = {*desk.origins, room.issuer}
    if site == "same-origin" or (not site and origin in ours):
        return
    msg = "this was not sent by a page of the console"
    raise ForbiddenError(msg, hint="open the console itself, and try again there")


def _rooms(request: Request) -> tuple[Room, Desk]:
    return request.app.state.console, request.app.state.desk


def _key(room: Room) -> PrivateKey:
    if room.key is None:
        msg = "one-time links let people in to demo states only"
        hint = "this state is stamped production: sign votes with your own key"
        raise ForbiddenError(msg, hint=hint)
    if not room.secure and urlsplit(room.issuer).hostname not in _LOOPBACK:
        msg = "the console is served by https, or on this host alone"
        raise ForbiddenError(msg, hint="put it behind https")
    return room.key


def _secret(kind: TicketKind) -> tuple[str, bytes]:
    secret = secrets.token_urlsafe(TICKET_SECRET_BYTES)
    return secret, ticket_name(kind, secret)


def _csrf(secret: str) -> str:
    """Return what forms of this session carry; nobody gets from it to the cookie."""
    return sha256(f"counterfoil csrf\0{secret}".encode()).hexdigest()


async def _keep(
    room: Room, desk: Desk, ticket: Ticket, *, key: PrivateKey, name: bytes
) -> None:
    """Log who is let in and how, then let them in."""
    detail = {
        "subject": f"person:{ticket.person_id}",
        "token": ticket.ticket_id,
        "audience": f"{room.issuer}/console",
        "token_type": f"console-{ticket.kind.value}",
        "strength": ticket.strength,
        "expires_at": write_moment(ticket.expires_at),
    }
    await desk.journal.record(entry_of(desk, EntryKind.TOKEN, detail))
    await room.tickets.keep(
        name,
        kind=ticket.kind.value,
        signed=sign(ticket_claims(ticket), key=key, typ=ticket.kind.typ),
        expires_at=ticket.expires_at,
    )


async def _still_stands(desk: Desk, ticket: Ticket) -> None:
    """Require that person, key and everything above them were not revoked since."""
    caller = _caller(desk, ticket)
    token = AccessToken(
        kind=caller.kind,
        subject_id=caller.subject_id,
        audience="",
        token_id=caller.token_id,
        grant_id=caller.grant_id,
        instance_id=caller.instance_id,
        client_kid=caller.kid,
        jkt="",
        tenant=caller.tenant,
        environment=caller.environment,
        issued_at=ticket.issued_at,
        expires_at=ticket.expires_at,
        epochs=ticket.epochs,
        grant=caller.grant,
    )
    kids, epochs = await desk.identities.standing(token)
    if ticket.kid not in kids or not ticket.epochs.current_under(dict(epochs)):
        msg = "this session was revoked"
        raise UnauthenticatedError(msg, hint="ask whoever runs this installation")


def _caller(desk: Desk, ticket: Ticket) -> Caller:
    return Caller(
        kind=SubjectKind.PERSON,
        subject_id=ticket.person_id,
        tenant=desk.tenant,
        environment=desk.environment,
        token_id=ticket.ticket_id,
        grant_id=ticket.ticket_id,
        instance_id=ticket.ticket_id,
        kid=ticket.kid,
        proof_of_possession=False,
        expires_at=ticket.expires_at,
        epochs=ticket.epochs,
        grant=Grant(),
    )


def _used_up() -> UnauthenticatedError:
    msg = "this link was used before, or it is older than five minutes"
    return UnauthenticatedError(msg, hint="get another one: `counterfoil console`")
