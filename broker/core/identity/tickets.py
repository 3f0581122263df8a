"""Tickets to the console: the one-time link that lets a person in, and their session.

A person gets a random secret; the broker keeps a row under the secret's hash, and in
it this artefact, signed by its console key. The row is found by the secret and believed
for its signature: who writes to the table lets nobody in, and who reads it learns no
secret.

Source: OWASP ASVS 5.0, chapter 7 (sessions); DESIGN, chapter 3 (invariant 11).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final

from broker.core.identity.claims import TIME_S_MAX
from broker.core.jwk import JwsError
from broker.core.jws import verify
from broker.core.words.approval import CONSOLE_STRENGTHS
from broker.core.words.errors import UnauthenticatedError
from broker.core.words.subject import Epochs

if TYPE_CHECKING:
    from collections.abc import Mapping

    from broker.core.jwk import PublicKey

TICKET_SECRET_BYTES: Final = 32
LINK_LIFE_S_MAX: Final = 300
"""How long a sign-in link may be used, once, in seconds."""

SESSION_LIFE_S_MAX: Final = 8 * 3_600
"""How long a session at the console lasts at most, in seconds."""

TICKET_BYTES_MAX: Final = 4_096
_CLAIMS = frozenset(
    {"name", "jti", "person", "kid", "strength", "epochs", "iat", "exp"}
)
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class TicketKind(StrEnum):
    """What a ticket is good for; each kind has a ``typ`` of its own."""

    LINK = "link"
    SESSION = "session"

    @property
    def typ(self) -> str:
        """Return the ``typ`` that such a ticket is signed as."""
        return f"counterfoil-{self.value}+jwt"


@dataclass(frozen=True, slots=True)
class Ticket:
    """What a ticket says.

    ``name`` is the hash of its secret in hex; ``kid`` the person's key that the link
    was asked for with; ``epochs`` the revocation counters at that time.
    """

    kind: TicketKind
    name: str
    ticket_id: str
    person_id: str
    kid: str
    strength: str
    epochs: Epochs
    issued_at: datetime
    expires_at: datetime


def ticket_name(kind: TicketKind, secret: str) -> bytes:
    """Return the name under which a ticket with this secret is kept, 32 bytes."""
    return sha256(f"counterfoil {kind.value}\0{secret}".encode()).digest()


def ticket_claims(ticket: Ticket) -> dict[str, Any]:
    """Return the claims of a ticket, to be signed as its kind's ``typ``."""
    return {
        "name": ticket.name,
        "jti": ticket.ticket_id,
        "person": ticket.person_id,
        "kid": ticket.kid,
        "strength": ticket.strength,
        "epochs": dict(ticket.epochs.scopes),
        "iat": int(ticket.issued_at.timestamp()),
        "exp": int(ticket.expires_at.timestamp()),
    }


def read_ticket(
    signed: str,
    *,
    kind: TicketKind,
    name: bytes,
    keys: Mapping[str, PublicKey],
    now: datetime,
) -> Ticket:
    """Return the ticket that was signed for this secret and has not ended.

    Args:
        signed: What stands in the row.
        kind: What it has to be good for.
        name: The hash of the secret that was shown.
        keys: The broker's console keys, by kid.
        now: The time.

    Raises:
        UnauthenticatedError: It was signed by somebody else, for another secret or
            another use, or it has ended.
    """
    try:
        claims = verify(signed, keys=keys, typ=kind.typ, bytes_max=TICKET_BYTES_MAX)
    except JwsError:
        raise _no_good() from None
    ticket = _read(claims, kind)
    if ticket.name != name.hex() or ticket.expires_at <= now:
        raise _no_good()
    return ticket


def _read(claims: Mapping[str, Any], kind: TicketKind) -> Ticket:
    epochs = claims.get("epochs")
    if (
        set(claims) ^ _CLAIMS
        or not isinstance(epochs, dict)
        or not all(type(epoch) is int for epoch in epochs.values())
        or claims["strength"] not in CONSOLE_STRENGTHS
        or not all(_UUID.fullmatch(str(claims[one])) for one in ("jti", "person"))
        or not all(
            type(claims[one]) is int and 0 <= claims[one] <= TIME_S_MAX
            for one in ("iat", "exp")
        )
    ):
        raise _no_good()
    return Ticket(
        kind=kind,
        name=str(claims["name"]),
        ticket_id=str(claims["jti"]),
        person_id=str(claims["person"]),
        kid=str(claims["kid"]),
        strength=str(claims["strength"]),
        epochs=Epochs(tuple(sorted(epochs.items()))),
        issued_at=datetime.fromtimestamp(claims["iat"], tz=UTC),
        expires_at=datetime.fromtimestamp(claims["exp"], tz=UTC),
    )


def _no_good() -> UnauthenticatedError:
    msg = "this ticket is not one of ours, or it has ended"
    return UnauthenticatedError(msg, hint="get a new link with `counterfoil console`")
