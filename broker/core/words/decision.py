"""Decisions are values: Permit, Deny or Escalate, with reasons and obligations."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from itertools import pairwise
from typing import TYPE_CHECKING, assert_never

from broker.core.words.subject import VerificationLevel

if TYPE_CHECKING:
    from collections.abc import Sequence

RUNGS_MAX = 3
"""How often a question that nobody answers is passed on."""


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
class Rung:
    """One step of an escalation: from ``after_s`` on, ``role`` may sign as well."""

    role: str
    after_s: int


@dataclass(frozen=True, slots=True)
class Quorum:
    """Who must sign: how many people, of which role, within how many seconds.

    ``remind_s`` is when those who were asked are reminded, 0 for never. ``ladder`` says
    who may sign as well if nobody answers, and from when: it only ever adds people, so
    that a signature that was good stays good. ``customer`` is the verification level
    at which the customer confirms as well, 0 if they are not asked.
    """

    approvers_min: int
    role: str
    expires_s: int
    remind_s: int = 0
    ladder: tuple[Rung, ...] = ()
    customer: int = 0

    def __post_init__(self) -> None:
        """Refuse a quorum of nobody, and times that never come."""
        if self.approvers_min < 1 or self.expires_s < 1 or not self.role:
            msg = "a quorum needs at least one approver, a role and a positive expiry"
            raise ValueError(msg)
        if not 0 <= self.remind_s < self.expires_s:
            msg = "a quorum reminds before it expires"
            raise ValueError(msg)
        if self.customer not in {*VerificationLevel}:
            msg = f"a customer confirms at a level up to {max(VerificationLevel)}"
            raise ValueError(msg)
        times = [0, *(rung.after_s for rung in self.ladder), self.expires_s]
        roles = [self.role, *(rung.role for rung in self.ladder)]
        if (
            len(self.ladder) > RUNGS_MAX
            or any(later <= one for one, later in pairwise(times))
            or len({*roles}) < len(roles)
            or not all(roles)
        ):
            msg = (
                f"a quorum is passed on up to {RUNGS_MAX} times, each to another role,"
                " each later, and before it expires"
            )
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

    Escalations are combined as ``strictest_quorum`` says. Reasons of equal severity
    are joined.

    Source: XACML 3.0 appendix C (deny-overrides), with Escalate between the two.
    """
    if not decisions:
        return Deny((Reason("no_rule", "no rule permits this"),))
    denies = [d for d in decisions if isinstance(d, Deny)]
    if denies:
        return Deny(tuple(r for d in denies for r in d.reasons))
    escalations = [d for d in decisions if isinstance(d, Escalate)]
    if escalations:
        quorum = strictest_quorum([e.quorum for e in escalations])
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


def strictest_quorum(quorums: Sequence[Quorum]) -> Quorum:
    """Combine quorums: most approvers, shortest expiry, earliest reminder.

    The role is that of the first that asks for most approvers. A rung counts only if
    each of them has it, and at the latest of their times: who may sign is never more
    than any of them says. The customer confirms if any of them says so, at the highest
    of their levels.
    """
    most = max(quorums, key=lambda one: one.approvers_min)
    expires_s = min(one.expires_s for one in quorums)
    reminders = [q.remind_s for q in quorums if 0 < q.remind_s < expires_s]
    times = [{rung.role: rung.after_s for rung in one.ladder} for one in quorums]
    shared = set.intersection(*({*one} for one in times)) - {most.role}
    latest = {role: max(one[role] for one in times) for role in shared}
    return Quorum(
        approvers_min=most.approvers_min,
        role=most.role,
        expires_s=expires_s,
        remind_s=min(reminders, default=0),
        ladder=_rising(latest, expires_s),
        customer=max(one.customer for one in quorums),
    )


def _rising(after_s: dict[str, int], expires_s: int) -> tuple[Rung, ...]:
    """Return rungs in order; of two at one time the later by name waits a second."""
    rungs: list[Rung] = []
    for role, seconds in sorted(after_s.items(), key=lambda one: (one[1], one[0])):
        at = max(seconds, rungs[-1].after_s + 1) if rungs else seconds
        if at < expires_s:
            rungs.append(Rung(role, at))
    return tuple(rungs[:RUNGS_MAX])


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
