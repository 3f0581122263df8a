"""Reject links: what a mail to one person holds, which can say no and nothing else.

A link is signed by the broker, for one person, one approval and one digest, until an
expiry. Its id becomes the id of the vote that it leads to, so that it works once. That
vote has a ``typ`` of its own, and whoever verifies it takes no yes from it.

Source: DESIGN, chapter 7 (Votes); docs/notifications.md.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from broker.core.jwk import JwsError
from broker.core.jws import verify
from broker.core.words.errors import ForbiddenError, InvalidError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from broker.core.jwk import PublicKey

REJECT_LINK_TYP: Final = "counterfoil-reject-link+jwt"
REJECT_LINK_BYTES_MAX: Final = 1_024
REJECT_LINK_S_MAX: Final = 86_400
"""How long a link lasts at most, in seconds; never longer than its approval."""

_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_CLAIMS = frozenset({"jti", "approval", "person", "digest", "exp"})


@dataclass(frozen=True, slots=True)
class RejectLink:
    """Whose no it is, to what, until when."""

    link_id: str
    approval_id: str
    person_id: str
    digest: str
    expires_at: datetime


def link_expiry(now: datetime, *, approval_expires_at: datetime) -> datetime:
    """Return when a link that is made now ends."""
    return min(now + timedelta(seconds=REJECT_LINK_S_MAX), approval_expires_at)


def link_claims(link: RejectLink) -> dict[str, Any]:
    """Return the claims of a link, to be signed as REJECT_LINK_TYP."""
    return {
        "jti": link.link_id,
        "approval": link.approval_id,
        "person": link.person_id,
        "digest": link.digest,
        "exp": int(link.expires_at.timestamp()),
    }


def read_link(
    token: str, *, keys: Mapping[str, PublicKey], now: datetime
) -> RejectLink:
    """Return the link in a token.

    Raises:
        ForbiddenError: It was not signed here, or has ended.
        InvalidError: A claim is missing, unknown or malformed.
    """
    try:
        claims = verify(
            token, keys=keys, typ=REJECT_LINK_TYP, bytes_max=REJECT_LINK_BYTES_MAX
        )
    except JwsError as error:
        msg = f"this is no link of ours ({error.problem})"
        raise ForbiddenError(msg, hint="sign in, and look at the card") from None
    link = _read(claims)
    if link.expires_at <= now:
        msg = "this link has ended"
        raise ForbiddenError(msg, hint="sign in, and look at the card")
    return link


def _read(claims: Mapping[str, Any]) -> RejectLink:
    until = claims.get("exp")
    forms = {"jti": _UUID, "approval": _UUID, "person": _UUID, "digest": _DIGEST}
    if (
        set(claims) ^ _CLAIMS
        or type(until) is not int
        or not 0 <= until < 2**40
        or not all(
            isinstance(claims[name], str) and form.fullmatch(claims[name])
            for name, form in forms.items()
        )
    ):
        msg = "the link does not say what a link says"
        raise InvalidError(msg)
    return RejectLink(
        link_id=claims["jti"],
        approval_id=claims["approval"],
        person_id=claims["person"],
        digest=claims["digest"],
        expires_at=datetime.fromtimestamp(until, tz=UTC),
    )
