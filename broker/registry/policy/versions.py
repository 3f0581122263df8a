"""Versions of the policy: who proposes, who approves, what each of them signed.

A version is a signed row that never changes. Its content is everything that decides
(and the tables that it was made from); beside it stand author, approver and what both
signed with their own keys over the content's digest. A proposal waits in a row of its
own, one at a time, under the number that it would get.

Two people make a version, one of them of compliance. One person is enough for a change
that provably only narrows (`narrows`); what cannot be proved takes two. Rolling back
is publishing an earlier content again, under the same rule.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import cedarpy

from broker.core.canonical import CanonicalError, canonical, digest
from broker.core.jwk import JwsError
from broker.core.jws import verify
from broker.core.words.errors import ForbiddenError, InvalidError
from broker.registry.people import Role
from broker.registry.reading import RowError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from broker.registry.authority import AuthorityRow
    from broker.registry.people import PersonRow

POLICY_TYP: Final = "counterfoil-policy+jwt"
CONTENT_BYTES_MAX: Final = 524_288
"""Longest content of a policy, as canonical JSON: text, limits and sources."""

VERSIONS_SHOWN_MAX: Final = 200
"""How many versions are looked through, newest first; older ones stay in the log."""

_META = frozenset(
    {"version", "author", "approver", "signatures", "reason", "rollback_of", "status"}
)
_LIMITS = ("rates", "budgets")
_AUTHORS = frozenset({Role.COMPLIANCE, Role.SECURITY, Role.ADMIN})


@dataclass(frozen=True, slots=True)
class Version:
    """One version: its content, and who stands behind it.

    ``signatures`` are compact JWS of author and approver; a policy that came with the
    installation has none, and a change that only narrows has the author's alone.
    """

    number: int
    revision: int
    at: datetime
    content: Mapping[str, Any]
    digest: str
    author: str
    approver: str
    reason: str
    rollback_of: int
    signatures: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Proposal:
    """What one person wants to publish: ``version`` says as what, and who they are."""

    version: Version
    open: bool


def content_of(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a policy's body decides by, without who signed it and when."""
    return {name: value for name, value in body.items() if name not in _META}


def content_digest(content: Mapping[str, Any]) -> str:
    """Return what people sign: the digest of the whole content, in lower-case hex.

    Raises:
        InvalidError: It is no JSON of up to CONTENT_BYTES_MAX bytes, or names a field
            that is not the author's to fill in.
    """
    if content.keys() & _META:
        msg = f"{min(content.keys() & _META)} is not part of a policy's content"
        raise InvalidError(msg, pointer="/policy")
    try:
        length = len(canonical(dict(content)))
    except CanonicalError as error:
        raise InvalidError(str(error), pointer="/policy") from None
    if length > CONTENT_BYTES_MAX:
        msg = f"the policy is longer than {CONTENT_BYTES_MAX} bytes"
        raise InvalidError(msg, pointer="/policy")
    return digest(dict(content))


def policy_claims(
    person_id: str, *, word: str, version: int, digest: str
) -> dict[str, Any]:
    """Return what a person signs with their own key, as POLICY_TYP.

    ``word`` is ``propose`` or ``approve``.
    """
    return {"iss": person_id, "word": word, "version": version, "digest": digest}


def check_signed(
    signature: str, *, person: PersonRow, claims: Mapping[str, Any]
) -> None:
    """Require that this person signed exactly this.

    Raises:
        ForbiddenError: They did not.
    """
    keys = {slot.key.kid: slot.key for slot in person.keys}
    try:
        found = verify(signature, keys=keys, typ=POLICY_TYP)
    except JwsError as error:
        msg = f"it is not signed by a key of this person ({error.problem})"
        raise ForbiddenError(msg, pointer="/signature") from None
    if found != claims:
        msg = "it was signed for another version, another text or another word"
        hint = "look at what is proposed now, and sign that"
        raise ForbiddenError(msg, hint=hint, pointer="/signature")


def check_may_propose(actor: PersonRow) -> None:
    """Require a role that may write policy.

    Raises:
        ForbiddenError: This person has none.
    """
    if not actor.active or not actor.roles & _AUTHORS:
        msg = f"this needs a role of: {', '.join(sorted(_AUTHORS))}"
        raise ForbiddenError(msg)


def check_may_approve(actor: PersonRow, *, author: PersonRow | None) -> None:
    """Require another person than the author, and that one of the two is compliance.

    Raises:
        ForbiddenError: It is the author, who may not approve their own; or a role is
            missing; or the author has lost theirs meanwhile.
    """
    check_may_propose(actor)
    if author is None or not author.active or not author.roles & _AUTHORS:
        msg = "the author may not propose a policy any more"
        raise ForbiddenError(msg, hint="withdraw it, and let somebody else propose it")
    if actor.person_id == author.person_id:
        msg = "nobody approves a policy that they proposed"
        raise ForbiddenError(msg, hint="ask a second person")
    if Role.COMPLIANCE not in actor.roles | author.roles:
        msg = "one of author and approver must be of compliance"
        raise ForbiddenError(msg, hint="ask a person of compliance to approve it")


def parse_version(row: AuthorityRow) -> Version:
    """Read a version (or what is proposed as one) out of a verified row.

    Raises:
        RowError: A field is missing or of the wrong form.
    """
    body = row.body
    try:
        number, rollback = int(body["version"]), int(body.get("rollback_of") or 0)
        signatures = body.get("signatures", [])
        author, approver = str(body["author"]), str(body.get("approver") or "")
        reason = str(body.get("reason") or "")
    except (KeyError, TypeError, ValueError) as error:
        msg = f"the row holds no version of a policy: {error}"
        raise RowError(msg) from None
    content = content_of(body)
    return Version(
        number=number,
        revision=row.revision,
        at=row.at,
        content=content,
        digest=digest(content),
        author=author,
        approver=approver,
        reason=reason,
        rollback_of=rollback,
        signatures=tuple(str(one) for one in signatures),
    )


def parse_proposal(row: AuthorityRow) -> Proposal:
    """Read a proposal out of a verified row.

    Raises:
        RowError: A field is missing or of the wrong form.
    """
    return Proposal(parse_version(row), open=row.body.get("status") == "open")


def version_body(version: Version) -> dict[str, Any]:
    """Return the body of a policy row."""
    return {
        **version.content,
        "version": version.number,
        "author": version.author,
        "approver": version.approver,
        "reason": version.reason,
        "rollback_of": version.rollback_of,
        "signatures": list(version.signatures),
    }


def changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """Return what differs between two contents, by the names of rules and limits."""
    before, after = _rules(old), _rules(new)
    found: dict[str, Any] = {"rules": _named(before, after)}
    for kind in _LIMITS:
        found[kind] = _named(_by_id(old.get(kind, [])), _by_id(new.get(kind, [])))
    rest = {*old, *new} - {"cedar", "sources", *_LIMITS}
    found["other"] = sorted(name for name in rest if old.get(name) != new.get(name))
    return found


def narrows(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    """Return whether the new content provably permits nothing that the old did not.

    Provable are: more ``forbid`` rules beside untouched others; smaller numbers in
    budgets and rates; more rates. Everything else takes two people: whether one Cedar
    text permits less than another cannot be read off its words, and a rule that is
    removed may have been the one that asked for two signatures.
    """
    rest = {*old, *new} - {"cedar", "sources", *_LIMITS}
    if any(old.get(name) != new.get(name) for name in rest):
        return False
    before, after = _rules(old), _rules(new)
    if any(after.get(name) != rule for name, rule in before.items()):
        return False
    if not all(_only_forbids(after[name]) for name in after.keys() - before.keys()):
        return False
    rates, new_rates = _by_id(old.get("rates", [])), _by_id(new.get("rates", []))
    budgets, new_budgets = (
        _by_id(old.get("budgets", [])),
        _by_id(new.get("budgets", [])),
    )
    return (
        # A budget that is new could cover an amount that nothing covered before.
        budgets.keys() == new_budgets.keys()
        and rates.keys() <= new_rates.keys()
        and all(
            _smaller(budgets[name], new_budgets[name], ("limit", "per_action"))
            for name in budgets
        )
        and all(
            _smaller(rates[name], new_rates[name], ("requests", "burst"))
            for name in rates
        )
    )


def _only_forbids(rule: Mapping[str, Any]) -> bool:
    # One that says who must sign could name others than those who must sign now.
    return rule["effect"] == "forbid" and "approvers" not in rule.get("annotations", {})


def _smaller(
    old: Mapping[str, Any], new: Mapping[str, Any], numbers: Sequence[str]
) -> bool:
    def less(name: str) -> bool:
        was, now = old.get(name), new.get(name)
        if type(was) is not int or type(now) is not int:
            return was == now
        return now <= was

    return {**old, **dict.fromkeys(numbers)} == {
        **new,
        **dict.fromkeys(numbers),
    } and all(less(name) for name in numbers)


def _rules(content: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return each rule as JSON by its @id; the text has been validated before."""
    parsed = json.loads(cedarpy.policies_to_json_str(str(content.get("cedar", ""))))
    rules: list[dict[str, Any]] = list(parsed["staticPolicies"].values())
    return {str(rule.get("annotations", {}).get("id", "")): rule for rule in rules}


def _by_id(limits: Sequence[Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    return {str(one["id"]): one for one in limits}


def _named(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, list[str]]:
    return {
        "added": sorted(new.keys() - old.keys()),
        "removed": sorted(old.keys() - new.keys()),
        "changed": sorted(n for n in old.keys() & new.keys() if old[n] != new[n]),
    }
