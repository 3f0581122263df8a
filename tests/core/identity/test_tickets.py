"""Tickets: a link or session is what the broker signed for one secret, or nothing."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from broker.core.identity.tickets import (
    LINK_LIFE_S_MAX,
    SESSION_LIFE_S_MAX,
    TICKET_BYTES_MAX,
    TICKET_SECRET_BYTES,
    Ticket,
    TicketKind,
    read_ticket,
    ticket_claims,
    ticket_name,
)
from broker.core.jws import sign
from broker.core.words.errors import UnauthenticatedError
from broker.core.words.subject import Epochs
from tests.support.identities import NOW, PERSON_ID, key_of

KEY, OTHER = key_of("console"), key_of("somebody")
SECRET = "s" * TICKET_SECRET_BYTES
NAME = ticket_name(TicketKind.LINK, SECRET)
TICKET = Ticket(
    kind=TicketKind.LINK,
    name=NAME.hex(),
    ticket_id="0197a000-0000-7000-8000-00000000f001",
    person_id=PERSON_ID,
    kid=key_of("alice").kid,
    strength="link",
    epochs=Epochs((("global:dev", 0), (f"person:{PERSON_ID}", 3))),
    issued_at=NOW.replace(microsecond=0),
    expires_at=NOW.replace(microsecond=0) + timedelta(seconds=LINK_LIFE_S_MAX),
)


def signed(ticket: Ticket = TICKET, key: Any = KEY, **changes: Any) -> str:
    claims = ticket_claims(ticket) | changes
    return sign(claims, key=key, typ=ticket.kind.typ)


def read(text: str, **more: Any) -> Ticket:
    return read_ticket(
        text,
        kind=more.get("kind", TicketKind.LINK),
        name=more.get("name", NAME),
        keys={KEY.kid: KEY.public()},
        now=more.get("now", NOW),
    )


def refused(text: str, **more: Any) -> bool:
    with pytest.raises(UnauthenticatedError):
        read(text, **more)
    return True


def test_a_ticket_reads_back_as_it_was_signed() -> None:
    assert read(signed()) == TICKET


def test_a_ticket_ends_in_the_second_that_it_names() -> None:
    last = TICKET.expires_at - timedelta(seconds=1)
    assert read(signed(), now=last) == TICKET
    assert refused(signed(), now=TICKET.expires_at)
    assert LINK_LIFE_S_MAX == 300 < SESSION_LIFE_S_MAX


def test_a_row_that_somebody_else_wrote_lets_nobody_in() -> None:
    assert refused(signed(key=OTHER))
    assert refused("")
    assert refused("x" * (TICKET_BYTES_MAX + 1))


def test_a_ticket_is_good_for_its_own_secret_only() -> None:
    assert refused(signed(), name=ticket_name(TicketKind.LINK, "another"))
    assert ticket_name(TicketKind.SESSION, SECRET) != NAME


def test_a_link_is_no_session_and_a_session_no_link() -> None:
    session = replace(TICKET, kind=TicketKind.SESSION)
    assert refused(signed(session))
    assert refused(signed(), kind=TicketKind.SESSION)
    assert read(signed(session), kind=TicketKind.SESSION) == session


@pytest.mark.parametrize(
    "changes",
    [
        {"strength": "passkey"},
        {"person": "alice"},
        {"jti": "1"},
        {"epochs": []},
        {"epochs": {"global:dev": "0"}},
        {"iat": -1},
        {"exp": True},
        {"more": 1},
    ],
)
def test_a_claim_of_the_wrong_form_is_refused(changes: dict[str, Any]) -> None:
    assert refused(signed(**changes))
