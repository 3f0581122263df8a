"""Authority rows: who may do what, each revision signed with the authority key.

A row is a compact JWS; the columns beside it only find it. A row whose signature, kind,
id, revision, tenant or environment does not agree does not exist, so that writing to
the database grants nothing.

Source: DESIGN, chapter 3 (invariant 11).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from broker.core.jwk import JwsError
from broker.core.jws import verify
from broker.core.words.moment import read_moment, write_moment
from broker.registry.reading import RowError, items, natural_id, number, only, text

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from broker.core.jwk import PublicKey

AUTHORITY_TYP: Final = "counterfoil-authority+jws"
REVISION_MAX: Final = 2**31 - 1
SIGNERS_MAX: Final = 4

ROW_BYTES_MAX: Final = 1_048_576
"""Longest signed row: a policy carries its text and what that was made from."""

KINDS: Final = frozenset(
    {
        "agent",
        "approval_right",
        "canaries",
        "budget_release",
        "change",
        "channel",
        "key_ring",
        "kill_switch",
        "limit",
        "person",
        "policy",
        "policy_proposal",
        "restored",
        "service",
        "standing_approval",
        "subscription",
        "use_case",
    }
)

_FIELDS = frozenset(
    {"kind", "id", "revision", "at", "by", "tenant", "environment", "body"}
)


@dataclass(frozen=True, slots=True)
class Realm:
    """Whose rows count here: one tenant, one environment, one set of authority keys."""

    tenant: str
    environment: str
    keys: Mapping[str, PublicKey]


@dataclass(frozen=True, slots=True)
class AuthorityRow:
    """One signed revision; ``by`` are subjects (``person:<id>``) or bootstrap."""

    kind: str
    row_id: str
    revision: int
    at: datetime
    by: tuple[str, ...]
    tenant: str
    environment: str
    body: Mapping[str, Any]


def row_claims(row: AuthorityRow) -> dict[str, Any]:
    """Return the payload of a row, to be signed as AUTHORITY_TYP."""
    return {
        "kind": row.kind,
        "id": row.row_id,
        "revision": row.revision,
        "at": write_moment(row.at),
        "by": list(row.by),
        "tenant": row.tenant,
        "environment": row.environment,
        "body": dict(row.body),
    }


def verify_row(
    signed: str, *, realm: Realm, kind: str, row_id: str, revision: int
) -> AuthorityRow:
    """Verify that a signed row is what the columns beside it say.

    Raises:
        RowError: It is not; for everybody else this row does not exist.
    """
    try:
        claims = verify(
            signed, keys=realm.keys, typ=AUTHORITY_TYP, bytes_max=ROW_BYTES_MAX
        )
    except JwsError as error:
        msg = f"the row does not verify ({error.problem})"
        raise RowError(msg) from None
    row = _read(claims)
    if (row.kind, row.row_id, row.revision) != (kind, row_id, revision):
        msg = "the row was signed for another place in the table"
        raise RowError(msg)
    if (row.tenant, row.environment) != (realm.tenant, realm.environment):
        msg = "the row was signed for another tenant or environment"
        raise RowError(msg)
    return row


def _read(claims: Mapping[str, Any]) -> AuthorityRow:
    only(claims, _FIELDS)
    body = claims.get("body")
    if not isinstance(body, dict):
        msg = "body is no object"
        raise RowError(msg)
    kind = text(claims, "kind")
    if kind not in KINDS:
        msg = "kind is not known"
        raise RowError(msg)
    try:
        at = read_moment(claims.get("at"))
    except ValueError:
        msg = "at is no time"
        raise RowError(msg) from None
    return AuthorityRow(
        kind=kind,
        row_id=natural_id(claims, "id"),
        revision=number(claims, "revision", low=1, high=REVISION_MAX),
        at=at,
        by=items(claims, "by", count_min=1, count_max=SIGNERS_MAX),
        tenant=text(claims, "tenant"),
        environment=text(claims, "environment"),
        body=body,
    )
