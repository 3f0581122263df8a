"""Standing approvals: signed in advance, by two people, each with their own key.

One person proposes the terms and signs them, a second one signs the same terms, and
either of them, or security, takes them back. Until the second signature nothing holds.

The row's authority signature says that the broker took it in. That two people want it
is said by the people themselves: each signs the digest of the terms. One whose signers
are suspended, own the agent, or could not approve that much does not hold. Nor does it
while the right to approve of one of them is suspended.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from broker.core.canonical import canonical, digest
from broker.core.jwk import JwsError
from broker.core.jws import verify
from broker.core.words.approval import StandingApproval
from broker.core.words.errors import ForbiddenError, InvalidError
from broker.core.words.moment import write_moment
from broker.core.words.money import AMOUNT_MINOR_UNITS_MAX, is_currency
from broker.registry.people import Role
from broker.registry.reading import RowError, items, moment, number, only, text, word

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from broker.registry.authority import AuthorityRow
    from broker.registry.people import PersonRow

STANDING_TYP: Final = "counterfoil-standing+jwt"
STANDING_AGENTS_MAX: Final = 50
STANDING_DAYS_MAX: Final = 366
STANDING_WAITING_MAX: Final = 20
"""How many proposals of one person may wait for a second signature."""

CONSTRAINTS_MAX: Final = 16
CONSTRAINT_VALUES_MAX: Final = 100
SIGNATURE_CHARS_MAX: Final = 2_048

_SIGNERS = 2
_CONSTRAINT_BYTES = 8_192
_TERMS = frozenset(
    {
        "tool",
        "agents",
        "constraints",
        "per_action_minor_units",
        "total_minor_units",
        "currency",
        "expires_at",
    }
)
_FIELDS = _TERMS | {"signed_by", "signatures", "status"}


@dataclass(frozen=True, slots=True)
class SignedStanding:
    """A standing approval, the digest of its terms, and what was signed over it."""

    approval: StandingApproval
    digest: str
    signatures: tuple[str, ...]
    status: str
    revision: int = 0


def terms_digest(approval_id: str, body: Mapping[str, Any]) -> str:
    """Return what each person signs: the id and every term, in lower-case hex."""
    return digest(
        {
            "approval": approval_id,
            "terms": {name: body[name] for name in sorted(_TERMS)},
        }
    )


def standing_claims(person_id: str, *, approval_id: str, digest: str) -> dict[str, str]:
    """Return what a person signs with their own key, as STANDING_TYP."""
    return {"iss": person_id, "approval": approval_id, "digest": digest}


def parse_standing_approval(row: AuthorityRow) -> SignedStanding:
    """Read a standing approval out of a verified row; nobody's hand is checked yet.

    Raises:
        RowError: A field is missing, unknown or out of range.
    """
    body = row.body
    only(body, _FIELDS)
    currency = body.get("currency")
    if not isinstance(currency, str) or not is_currency(currency):
        msg = "currency is no ISO 4217 code"
        raise RowError(msg)
    status = word(body, "status", {"proposed", "active", "revoked"})
    signed_by = items(body, "signed_by", count_min=1, count_max=_SIGNERS)
    signatures = body.get("signatures")
    if (
        not isinstance(signatures, list)
        or len(signatures) != len(signed_by)
        or (status == "active" and len(signed_by) != _SIGNERS)
        or not all(
            isinstance(signature, str) and len(signature) <= SIGNATURE_CHARS_MAX
            for signature in signatures
        )
    ):
        msg = f"signatures are no signatures of one who proposes, or of {_SIGNERS}"
        raise RowError(msg)
    amount = {"low": 1, "high": AMOUNT_MINOR_UNITS_MAX}
    approval = StandingApproval(
        approval_id=row.row_id,
        tool=text(body, "tool"),
        agents=frozenset(
            items(body, "agents", count_min=1, count_max=STANDING_AGENTS_MAX)
        ),
        constraints=_constraints(body),
        per_action_minor_units=number(body, "per_action_minor_units", **amount),
        total_minor_units=number(body, "total_minor_units", **amount),
        currency=currency,
        expires_at=moment(body, "expires_at"),
        signed_by=signed_by,
        active=status == "active",
    )
    terms = terms_digest(row.row_id, body)
    return SignedStanding(approval, terms, tuple(signatures), status, row.revision)


def standing_holds(
    signed: SignedStanding,
    *,
    people: Mapping[str, PersonRow],
    owner: str,
) -> bool:
    """Return whether two people who may do so signed exactly these terms.

    Args:
        signed: What was read.
        people: Those of the signers whose right to approve stands, by id.
        owner: Who owns the agent that wants to use it; their signature does not count.
    """
    approval = signed.approval
    pairs = zip(approval.signed_by, signed.signatures, strict=True)
    return len(approval.signed_by) == _SIGNERS and all(
        person_id != owner
        and person_id in people
        and _may_sign(people[person_id], approval)
        and _signed(people[person_id], signature, signed)
        for person_id, signature in pairs
    )


def standing_body(
    signed: SignedStanding, *, add: tuple[str, str] | None = None, status: str
) -> dict[str, Any]:
    """Return the body of a row, with one more signature or another status.

    Args:
        signed: What it is made from.
        add: Person id and signature of who signs now.
        status: "proposed", "active" or "revoked".
    """
    approval = signed.approval
    signers = [*zip(approval.signed_by, signed.signatures, strict=True)]
    signers += [add] if add else []
    return {
        "tool": approval.tool,
        "agents": sorted(approval.agents),
        "constraints": dict(approval.constraints),
        "per_action_minor_units": approval.per_action_minor_units,
        "total_minor_units": approval.total_minor_units,
        "currency": approval.currency,
        "expires_at": write_moment(approval.expires_at),
        "signed_by": [person for person, _ in signers],
        "signatures": [signature for _, signature in signers],
        "status": status,
    }


def check_may_sign(
    person: PersonRow,
    signed: SignedStanding,
    signature: str,
    *,
    owners: Sequence[str],
    second: bool = True,
) -> None:
    """Require that this person may sign these terms, and did.

    Args:
        person: Who signs.
        signed: The terms.
        signature: What they sent.
        owners: Who owns the agents that could use it.
        second: Somebody else has signed it before.

    Raises:
        ForbiddenError: This person may not sign that.
        InvalidError: The signature is not theirs over exactly these terms.
    """
    if person.person_id in owners:
        msg = "nobody signs in advance for an agent that they own"
        raise ForbiddenError(msg, hint="ask another supervisor")
    if not _may_sign(person, signed.approval):
        msg = "this needs a supervisor whose own limit covers one action of it"
        raise ForbiddenError(msg)
    if second and person.person_id in signed.approval.signed_by:
        msg = "this person has signed it already"
        raise ForbiddenError(msg, hint="somebody else signs second")
    if not _signed(person, signature, signed):
        msg = "the signature is not this person's over exactly these terms"
        raise InvalidError(msg, pointer="/signature")


def _may_sign(person: PersonRow, approval: StandingApproval) -> bool:
    limit = person.limits.get(approval.currency, 0)
    return (
        person.active
        and Role.SUPERVISOR in person.roles
        and approval.per_action_minor_units <= limit
    )


def _signed(person: PersonRow, signature: str, signed: SignedStanding) -> bool:
    keys = {slot.key.kid: slot.key for slot in person.keys}
    wanted = standing_claims(
        person.person_id,
        approval_id=signed.approval.approval_id,
        digest=signed.digest,
    )
    try:
        claims = verify(signature, keys=keys, typ=STANDING_TYP)
    except JwsError:
        return False
    return claims == wanted


def _constraints(body: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    constraints = body.get("constraints")
    if not isinstance(constraints, dict) or len(constraints) > CONSTRAINTS_MAX:
        msg = f"constraints is no object of up to {CONSTRAINTS_MAX} pointers"
        raise RowError(msg)
    for pointer, constraint in constraints.items():
        match constraint:
            case {"max": int(most), **rest} if type(most) is int and not rest:
                pass
            case {"in": list(values), **rest} if (
                0 < len(values) <= CONSTRAINT_VALUES_MAX and not rest
            ):
                pass
            case _:
                msg = 'a constraint is {"max": integer} or {"in": [values]}'
                raise RowError(msg)
        if (
            not pointer.startswith("/")
            or len(canonical(constraint)) > _CONSTRAINT_BYTES
        ):
            msg = "constraints holds something that is too long or no pointer"
            raise RowError(msg)
    return constraints
