"""Limits that people set beside the policy: a lower one at once, a higher one by two.

The policy says what a budget may be at most, and is published by two people. A row of
this kind narrows one of its budgets; whatever it says, the policy's own limit holds.
Lowering takes one person; raising it again is proposed by one, who signs what is asked,
and made true by another, who signs the same.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final

from broker.core.jwk import JwsError
from broker.core.jws import verify
from broker.core.words.errors import ConflictError, ForbiddenError, InvalidError
from broker.core.words.money import AMOUNT_MINOR_UNITS_MAX
from broker.registry.people import Role
from broker.registry.reading import RowError, number, only, text, uuid

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from broker.core.words.budget import BudgetRule
    from broker.registry.authority import AuthorityRow
    from broker.registry.people import PersonRow

LIMIT_TYP: Final = "counterfoil-limit+jwt"
LIMIT_SIGNATURE_CHARS_MAX: Final = 2_048

_ROLES = frozenset({Role.SECURITY, Role.ADMIN, Role.COMPLIANCE})
_FIELDS = frozenset({"rule", "limit", "proposed"})
_PROPOSED = frozenset({"limit", "by", "signature", "after"})
_ID_CHARS = 32


@dataclass(frozen=True, slots=True)
class Proposed:
    """A limit that one person has signed; None takes the policy's own."""

    limit: int | None
    by: str
    signature: str
    after: int


@dataclass(frozen=True, slots=True)
class LimitRow:
    """What the newest signed row of one budget's limit says; None narrows nothing.

    ``at`` is when it said so: what is proposed was proposed then.
    """

    rule_id: str
    revision: int = 0
    limit: int | None = None
    proposed: Proposed | None = None
    at: datetime | None = field(default=None, compare=False)


def limit_id(rule_id: str) -> str:
    """Return the id of the row of a budget rule, whose name may be no id."""
    return sha256(rule_id.encode()).hexdigest()[:_ID_CHARS]


def parse_limit(row: AuthorityRow) -> LimitRow:
    """Read a limit out of a verified row.

    Raises:
        RowError: A field is missing, unknown or out of range.
    """
    body = row.body
    only(body, _FIELDS)
    rule_id = text(body, "rule")
    if row.row_id != limit_id(rule_id):
        msg = "the row is another rule's"
        raise RowError(msg)
    proposed = _proposed(body.get("proposed"))
    return LimitRow(rule_id, row.revision, _limit(body), proposed, row.at)


def limit_body(row: LimitRow) -> dict[str, Any]:
    """Return the body that `parse_limit` reads."""
    proposed = row.proposed
    return {
        "rule": row.rule_id,
        "limit": row.limit,
        "proposed": None
        if proposed is None
        else {
            "limit": proposed.limit,
            "by": proposed.by,
            "signature": proposed.signature,
            "after": proposed.after,
        },
    }


def limit_claims(
    person_id: str, *, rule_id: str, limit: int | None, after: int
) -> dict[str, Any]:
    """Return what a person signs with their own key, as LIMIT_TYP.

    ``after`` is the revision that the raise was proposed on: an old signature raises
    nothing later.
    """
    return {"iss": person_id, "rule": rule_id, "limit": limit, "after": after}


def narrowed(
    rules: Sequence[BudgetRule], limits: Mapping[str, int]
) -> tuple[BudgetRule, ...]:
    """Return the policy's budgets, each with the lower of its two limits."""
    return tuple(
        replace(rule, limit=min(rule.limit, limits[rule.rule_id]))
        if rule.limit is not None and rule.rule_id in limits
        else rule
        for rule in rules
    )


def lowers(row: LimitRow, limit: int | None) -> bool:
    """Return whether a limit is not above the one in force beside the policy."""
    return limit is not None and (row.limit is None or limit <= row.limit)


def lowered(row: LimitRow, limit: int) -> LimitRow:
    """Return a row with a lower limit; what was proposed is void."""
    return replace(row, limit=limit, proposed=None)


def proposed_by(
    person: PersonRow, row: LimitRow, limit: int | None, signature: str
) -> LimitRow:
    """Return a row with a raise that waits for somebody else.

    Raises:
        InvalidError: The signature is not this person's over exactly this raise.
    """
    after = row.revision
    proposed = Proposed(limit, person.person_id, signature, after)
    _check_signed(person, signature, row.rule_id, proposed)
    return replace(row, proposed=proposed)


def raised(
    person: PersonRow, row: LimitRow, signature: str, *, first: PersonRow | None
) -> LimitRow:
    """Return a row in which the raise holds that somebody else has proposed.

    Args:
        person: Who signs second.
        row: The row with the proposal.
        signature: Theirs.
        first: Who proposed it, as they are now; None if they are gone, or if that was
            too long ago.

    Raises:
        ConflictError: Nothing is proposed.
        ForbiddenError: They proposed it themselves, or who did may not any more.
        InvalidError: The signature is not theirs over exactly this raise.
    """
    proposed = row.proposed
    if proposed is None:
        msg = "nobody has proposed another limit"
        raise ConflictError(msg, hint="propose one first")
    if proposed.by == person.person_id:
        msg = "raising a limit takes two people"
        raise ForbiddenError(msg, hint="ask somebody else to sign it")
    if (
        first is None
        or not _may_limit(first)
        or not _signed(first, proposed.signature, row.rule_id, proposed)
    ):
        msg = "who proposed it may not set limits any more, or did so too long ago"
        raise ForbiddenError(msg, hint="propose it anew, and ask somebody to sign it")
    _check_signed(person, signature, row.rule_id, proposed)
    return replace(row, limit=proposed.limit, proposed=None)


def check_may_limit(person: PersonRow) -> None:
    """Require a role that may set limits.

    Raises:
        ForbiddenError: This person has none.
    """
    if not _may_limit(person):
        msg = f"this needs a role of: {', '.join(sorted(_ROLES))}"
        raise ForbiddenError(msg)


def _may_limit(person: PersonRow) -> bool:
    return person.active and not _ROLES.isdisjoint(person.roles)


def _check_signed(
    person: PersonRow, signature: str, rule_id: str, what: Proposed
) -> None:
    if not _signed(person, signature, rule_id, what):
        msg = "the signature is not this person's over exactly this limit"
        raise InvalidError(msg, pointer="/signature")


def _signed(person: PersonRow, signature: str, rule_id: str, what: Proposed) -> bool:
    keys = {slot.key.kid: slot.key for slot in person.keys}
    wanted = limit_claims(
        person.person_id, rule_id=rule_id, limit=what.limit, after=what.after
    )
    try:
        return verify(signature, keys=keys, typ=LIMIT_TYP) == wanted
    except JwsError:
        return False


def _limit(body: Mapping[str, Any]) -> int | None:
    if body.get("limit") is None:
        return None
    return number(body, "limit", low=0, high=AMOUNT_MINOR_UNITS_MAX)


def _proposed(raw: object) -> Proposed | None:
    if raw is None:
        return None
    if not isinstance(raw, dict):
        msg = "proposed is no object"
        raise RowError(msg)
    only(raw, _PROPOSED)
    signature = raw.get("signature")
    if not isinstance(signature, str) or len(signature) > LIMIT_SIGNATURE_CHARS_MAX:
        msg = "proposed holds no signature"
        raise RowError(msg)
    after = number(raw, "after", low=0, high=2**31 - 1)
    return Proposed(_limit(raw), uuid(raw, "by"), signature, after)
