"""Decisions are values: Permit, Deny or Escalate, with reasons and obligations."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import assert_never


@dataclass(frozen=True, slots=True)
class Reason:
    """Why, as a stable code for agents and a text for people."""

    code: str
    text: str
    rule: str = ""
    clause: str = ""


class ObligationKind(StrEnum):
    """What must happen if the decision is carried out."""

    APPROVERS_MIN = "approvers_min"
    APPROVER_ROLE = "approver_role"
    EXPIRES_S = "expires_s"


@dataclass(frozen=True, slots=True)
class Quorum:
    """Who must sign: how many people, of which role, within how many seconds."""

    approvers_min: int
    role: str
    expires_s: int

    def __post_init__(self) -> None:
        """Refuse a quorum of nobody."""
        if self.approvers_min < 1 or self.expires_s < 1 or not self.role:
            msg = "a quorum needs at least one approver, a role and a positive expiry"
            raise ValueError(msg)


@dataclass(frozen=True, slots=True)
class Permit:
    """Go on; ``standing_approval`` names what signed it in advance, if Tier 3."""

    reasons: tuple[Reason, ...] = ()
    standing_approval: str = ""


@dataclass(frozen=True, slots=True)
class Deny:
    """No, and why."""

    reasons: tuple[Reason, ...]


@dataclass(frozen=True, slots=True)
class Escalate:
    """A person must sign; ``quorum`` says who."""

    reasons: tuple[Reason, ...]
    quorum: Quorum


Decision = Permit | Deny | Escalate
_WORDS = {Permit: "permit", Deny: "deny", Escalate: "escalate"}


def word_of(decision: Decision) -> str:
    """Return the word used in entries, metrics and answers."""
    return _WORDS[type(decision)]


def strictest(decisions: tuple[Decision, ...]) -> Decision:
    """Combine: one deny wins, then one escalation; no decision at all is a deny.

    Escalations are combined: most approvers, shortest expiry, the role of the first
    that asked for most approvers. Reasons of equal severity are joined.

    Source: XACML 3.0 appendix C (deny-overrides), with Escalate between the two.
    """
    if not decisions:
        return Deny((Reason("no_rule", "no rule permits this"),))
    denies = [d for d in decisions if isinstance(d, Deny)]
    if denies:
        return Deny(tuple(r for d in denies for r in d.reasons))
    escalations = [d for d in decisions if isinstance(d, Escalate)]
    if escalations:
        most = max(escalations, key=lambda e: e.quorum.approvers_min).quorum
        quorum = Quorum(
            approvers_min=most.approvers_min,
            role=most.role,
            expires_s=min(e.quorum.expires_s for e in escalations),
        )
        return Escalate(tuple(r for e in escalations for r in e.reasons), quorum)
    standing = next(
        (
            d.standing_approval
            for d in decisions
            if isinstance(d, Permit) and d.standing_approval
        ),
        "",
    )
    return Permit(tuple(r for d in decisions for r in d.reasons), standing)


class FindingKind(StrEnum):
    """What a guard can find."""

    SCHEMA = "schema"
    CUSTOMER = "customer"
    OBJECT = "object"
    PROVENANCE = "provenance"
    CONTENT = "content"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing a guard noticed about an argument; ``pointer`` names the argument."""

    kind: FindingKind
    code: str
    pointer: str
    text: str
    origin: str = ""


class VerdictWord(StrEnum):
    """What the guards together say."""

    CLEAN = "clean"
    HOLD = "hold"
    BLOCK = "block"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the guards together say, and all that they found."""

    word: VerdictWord
    findings: tuple[Finding, ...] = field(default=())

    def reasons(self) -> tuple[Reason, ...]:
        """Return each finding as a reason that names the argument."""
        return tuple(
            Reason(f.code, f"{f.pointer}: {f.text}" if f.pointer else f.text)
            for f in self.findings
        )


def verdict_rank(word: VerdictWord) -> int:
    """Order verdicts from clean to block."""
    match word:
        case VerdictWord.CLEAN:
            return 0
        case VerdictWord.HOLD:
            return 1
        case VerdictWord.BLOCK:
            return 2
        case _:
            assert_never(word)
