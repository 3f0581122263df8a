"""Resolutions: what a person signs about an outcome that nobody else can tell.

It moves or frees money that may have been paid, so it asks for what an approval of that
action asks for: the approving role, no part in the action, a limit that covers the
amount, and a signature by the person's own key over exactly this action.

Source: RFC 7515; DESIGN, chapters 3 (invariants 5, 6 and 11) and 7 (Votes).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from broker.core.approvals.votes import VOTE_AGE_S_MAX
from broker.core.canonical import digest
from broker.core.identity.claims import CLOCK_AHEAD_S_MAX, TIME_S_MAX
from broker.core.jwk import Algorithm, JwsError
from broker.core.jws import unpack, verify
from broker.core.words.approval import RESOLUTION_TYP
from broker.core.words.decision import Reason
from broker.core.words.errors import ForbiddenError, InvalidError
from broker.core.words.money import AMOUNT_MINOR_UNITS_MAX, Money

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from broker.core.words.action import ActionRecord, Bound
    from broker.core.words.approval import Approver
    from broker.core.words.identity import RegisteredKey

RESOLUTION_BYTES_MAX: Final = 4_096
RESOLUTION_REASON_LENGTH_MAX: Final = 200

ROLE_OF_PERMITS: Final = "supervisor"
"""Who resolves what nobody was asked to sign: who signs standing approvals."""

_CLAIMS = frozenset(
    {
        "action",
        "amount_minor_units",
        "digest",
        "happened",
        "iat",
        "jti",
        "person",
        "reason",
    }
)
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Resolution:
    """What one person says became of one action, parsed from a verified signature.

    ``amount_minor_units`` is what the upstream moved, None if that is what was decided,
    or if nothing was moved. ``kid`` is the key that signed.
    """

    resolution_id: str
    action_id: str
    person_id: str
    digest: str
    happened: bool
    amount_minor_units: int | None
    reason: str
    at: datetime
    kid: str

    @property
    def fingerprint(self) -> str:
        """Return what makes a second resolution the same one: who said what."""
        return digest(
            {
                "action": self.action_id,
                "person": self.person_id,
                "happened": self.happened,
                "amount_minor_units": self.amount_minor_units,
            }
        )


def role_of(record: ActionRecord) -> str:
    """Return the role that resolves an action: the one that approved it."""
    return record.asked.quorum.role if record.asked else ROLE_OF_PERMITS


def open_digest(record: ActionRecord, bound: Bound) -> str:
    """Return what a resolution covers, in lower-case hex: this action, as it was sent.

    It covers action, tool, manifest, canonical arguments, customer, amount and warrant.
    """
    amount = bound.amount
    return digest(
        {
            "action": record.request.action_id,
            "tool": record.request.tool,
            "manifest": record.manifest,
            "arguments": record.request.arguments_digest,
            "interaction": record.request.interaction_id,
            "customer": record.customer_ref,
            "amount_minor_units": amount.minor_units if amount else None,
            "currency": amount.currency if amount else None,
            "warrant": record.warrant_id,
        }
    )


def may_resolve(
    person: Approver, *, role: str, barred: Iterable[str], amount: Money | None
) -> Reason | None:
    """Return why this person may not resolve an action, or None if they may.

    The limit binds both ways: to say that nothing was paid frees that much money.
    """
    if not person.active:
        return Reason("approver_inactive", "this person is not active")
    if person.suspended:
        text = "this person's right to approve is suspended"
        return Reason("approver_suspended", text)
    if person.person_id in {*barred}:
        text = "neither the agent's owner nor whoever asked may resolve it"
        return Reason("approver_barred", text)
    if role not in person.roles:
        return Reason("approver_role", f"role {role} is needed to resolve this")
    if amount is not None and amount.minor_units > person.limits.get(
        amount.currency, 0
    ):
        text = "the amount is above this person's approval limit"
        return Reason("approver_limit", text)
    return None


def verify_resolution(
    signed: str, *, person_id: str, keys: Iterable[RegisteredKey]
) -> Resolution:
    """Return the resolution that this person signed with a key of their own.

    Args:
        signed: The compact serialization.
        person_id: Whose it has to be.
        keys: The slots in the person's signed row; only P-256 keys count, and only one
            that was valid when it was signed.

    Raises:
        InvalidError: A claim is missing, unknown or of the wrong form.
        ForbiddenError: It is somebody else's, or not signed by such a key.
    """
    slots = {k.key.kid: k for k in keys if k.key.algorithm is Algorithm.ES256}
    try:
        kid = unpack(signed, bytes_max=RESOLUTION_BYTES_MAX).kid
        claims = verify(
            signed,
            keys={kid: slot.key for kid, slot in slots.items()},
            typ=RESOLUTION_TYP,
            bytes_max=RESOLUTION_BYTES_MAX,
        )
    except JwsError as error:
        msg = f"it is not signed by a key of this person ({error.problem})"
        raise ForbiddenError(msg, pointer="/signature") from None
    read = _read(claims, kid)
    if read.person_id != person_id:
        msg = "the signature is somebody else's"
        raise ForbiddenError(msg, pointer="/signature")
    if not slots[kid].valid_at(read.at):
        msg = "the key was not valid when it was signed"
        raise ForbiddenError(msg, pointer="/signature")
    return read


def check_recent(resolution: Resolution, *, now: datetime) -> None:
    """Require that a resolution was signed just now.

    Raises:
        InvalidError: It is older than VOTE_AGE_S_MAX, or of the future.
    """
    oldest = now - timedelta(seconds=VOTE_AGE_S_MAX)
    if not oldest <= resolution.at <= now + timedelta(seconds=CLOCK_AHEAD_S_MAX):
        msg = f"the signature is older than {VOTE_AGE_S_MAX} s, or of the future"
        raise InvalidError(msg, pointer="/signature", hint="look again, and sign anew")


def _read(claims: Mapping[str, Any], kid: str) -> Resolution:
    if set(claims) ^ _CLAIMS:
        msg = f"a resolution has the claims {', '.join(sorted(_CLAIMS))}, nothing else"
        raise InvalidError(msg, pointer="/signature")
    happened, at = claims["happened"], claims["iat"]
    dated = type(at) is int and 0 <= at <= TIME_S_MAX
    if type(happened) is not bool or not dated:
        msg = "happened is true or false, and iat a time in seconds"
        raise InvalidError(msg, pointer="/signature")
    return Resolution(
        resolution_id=_text(claims, "jti", _UUID),
        action_id=_text(claims, "action", _UUID),
        person_id=_text(claims, "person", _UUID),
        digest=_text(claims, "digest", _DIGEST),
        happened=happened,
        amount_minor_units=_amount(claims["amount_minor_units"], happened=happened),
        reason=_reason(claims["reason"]),
        at=datetime.fromtimestamp(at, tz=UTC),
        kid=kid,
    )


def _amount(value: object, *, happened: bool) -> int | None:
    if value is None:
        return None
    if type(value) is not int or not 0 < value <= AMOUNT_MINOR_UNITS_MAX:
        msg = "an amount is a whole number of minor units above zero"
        raise InvalidError(msg, pointer="/amount_minor_units")
    if not happened:
        msg = "what did not happen moved no amount"
        raise InvalidError(msg, pointer="/amount_minor_units")
    return value


def _reason(value: object) -> str:
    # Printable: it is shown in terminals, and stands in the log.
    if (
        not isinstance(value, str)
        or not value.strip()
        or len(value) > RESOLUTION_REASON_LENGTH_MAX
        or not value.isprintable()
    ):
        most = RESOLUTION_REASON_LENGTH_MAX
        msg = f"say why, in one line of up to {most} characters"
        raise InvalidError(msg, pointer="/reason")
    return value


def _text(claims: Mapping[str, Any], name: str, form: re.Pattern[str]) -> str:
    value = claims[name]
    if not isinstance(value, str) or not form.fullmatch(value):
        msg = f"the resolution's {name} has the wrong form"
        raise InvalidError(msg, pointer="/signature")
    return value
