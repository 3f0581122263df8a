"""Claims that every signed artefact shares: read strictly, checked against one clock.

Source: RFC 7519 section 4.1; RFC 7523 section 3.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final

from broker.core.words.errors import UnauthenticatedError
from broker.core.words.identity import OneUse

if TYPE_CHECKING:
    from collections.abc import Mapping

CLOCK_AHEAD_S_MAX: Final = 10
"""How far the sender's clock may run ahead of ours, in seconds."""

ASSERTION_LIFE_S_MAX: Final = 300
"""Longest life of a client, interaction or turn assertion, in seconds."""

JTI_CHARS_MAX: Final = 256

TIME_S_MAX: Final = 253_402_300_799
"""Last second of the year 9999: beyond it no datetime exists."""


@dataclass(frozen=True, slots=True)
class Times:
    """When something was issued (None if it does not say) and when it ends."""

    issued_at: datetime | None
    expires_at: datetime


def text_claim(
    claims: Mapping[str, Any], name: str, *, chars_max: int, empty: bool = False
) -> str:
    """Return a claim that must be a string of up to ``chars_max`` characters.

    Raises:
        UnauthenticatedError: It is missing, empty (unless allowed) or no such string.
    """
    value = claims.get(name)
    if not isinstance(value, str) or len(value) > chars_max or not (value or empty):
        msg = f"the claim {name} is missing or no string up to {chars_max} characters"
        raise UnauthenticatedError(msg)
    return value


def time_claim(claims: Mapping[str, Any], name: str) -> datetime | None:
    """Return a NumericDate claim in whole seconds, or None if it is absent.

    Raises:
        UnauthenticatedError: It is no whole number of seconds until the year 9999.
    """
    if name not in claims:
        return None
    value = claims[name]
    if type(value) is not int or not 0 <= value <= TIME_S_MAX:
        msg = f"the claim {name} is no whole number of seconds"
        raise UnauthenticatedError(msg)
    return datetime.fromtimestamp(value, tz=UTC)


def check_audience(claims: Mapping[str, Any], audience: str) -> None:
    """Require ``aud`` to be one string, exactly the audience.

    Raises:
        UnauthenticatedError: A list, another case, a trailing slash or anything else.

    Source: RFC 7523bis (draft 11), section 3: the issuer identifier, as one string.
    """
    if claims.get("aud") != audience or not isinstance(claims["aud"], str):
        msg = "the claim aud must be exactly the issuer, as one string"
        raise UnauthenticatedError(msg)


def check_times(claims: Mapping[str, Any], *, now: datetime, life_s_max: int) -> Times:
    """Check ``exp``, ``iat`` and ``nbf``; only ``exp`` must be there.

    At ``exp`` exactly the artefact has ended. Without ``iat`` the life is counted from
    now.

    Raises:
        UnauthenticatedError: Ended, not begun, or made to live too long.
    """
    expires_at = time_claim(claims, "exp")
    issued_at = time_claim(claims, "iat")
    not_before = time_claim(claims, "nbf")
    ahead = timedelta(seconds=CLOCK_AHEAD_S_MAX)
    if expires_at is None:
        msg = "the claim exp is missing"
        raise UnauthenticatedError(msg)
    if expires_at <= now:
        msg = "expired"
        raise UnauthenticatedError(msg, hint="make a new one for every request")
    if issued_at is not None and issued_at > now + ahead:
        msg = f"iat is more than {CLOCK_AHEAD_S_MAX} s in the future"
        raise UnauthenticatedError(msg, hint="set the clock")
    if not_before is not None and not_before > now + ahead:
        msg = "nbf is in the future"
        raise UnauthenticatedError(msg, hint="set the clock")
    # Whoever leaves iat out, or sets it ahead, gains the tolerated seconds and no more.
    start = now + ahead if issued_at is None else issued_at
    if expires_at - start > timedelta(seconds=life_s_max):
        msg = f"exp is more than {life_s_max} s after iat"
        raise UnauthenticatedError(msg, hint="make it live shorter")
    return Times(issued_at, expires_at)


def one_use(kind: str, *, key: str, jti: str, until: datetime) -> OneUse:
    """Name a single use, and remember it until its artefact has surely ended.

    Args:
        kind: What sort of artefact it is; equal ids of two sorts do not meet.
        key: Thumbprint of the key that signed.
        jti: The artefact's id.
        until: When the artefact ends by its own claims.
    """
    parts = (kind.encode("ascii"), key.encode("ascii"), jti.encode())
    name = sha256(b"\0".join(parts)).digest()
    # One second more than the tolerated clock, so that no entry ends before its token.
    return OneUse(name, until + timedelta(seconds=CLOCK_AHEAD_S_MAX + 1))


def jti_of(claims: Mapping[str, Any]) -> str:
    """Return the ``jti``.

    Raises:
        UnauthenticatedError: Missing, empty, too long, or no text that UTF-8 can write.
    """
    return text_claim(claims, "jti", chars_max=JTI_CHARS_MAX)
