"""Yesterday's requests under another policy: what would come out differently.

Pure: a recorded decision and two rule books go in, tallies come out. A request is
decided as the flow decides it (policy, what the guards said, budgets, and that nobody
permits a Tier 3 action unsigned), from what was sealed with it. Tallies can be added
up, so that a replay goes page by page in bounded memory.

What a replay cannot know: rates (a call that was turned away for its rate was never an
action), a budget that the candidate adds, and whatever the world would have done
differently after the first flip.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final, assert_never

from broker.core import authorize
from broker.core.limit import UNCOVERED, over_budget
from broker.core.words.decision import (
    Decision,
    Deny,
    Escalate,
    Permit,
    Reason,
    VerdictWord,
)
from broker.core.words.effect import Tier

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from broker.core.authorize import RuleBook
    from broker.core.sealed.decided import Decided
    from broker.core.words.budget import BudgetRule

FLIPS_SHOWN_MAX: Final = 200
"""How many single flips a tally names; all of them are counted."""

_STANDING: Final = "standing"
"""The total of a standing approval: it is used or not, and never denies."""

NOT_OF_POLICY: Final = frozenset({"totals_moving"})
"""Denials that say nothing about the policy: the record is left out."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """One recorded action: what was decided, by which version, and from what.

    ``word`` is permit, deny or escalate; ``code`` of the first reason; ``quorum`` is
    (approvers, role) of an escalation.
    """

    action_id: str
    word: str
    code: str
    quorum: tuple[int, str] | None
    decided: Decided
    simulated: bool = False


@dataclass(frozen=True, slots=True)
class Candidate:
    """A policy that requests are put to."""

    book: RuleBook
    budgets: Mapping[str, BudgetRule]

    @classmethod
    def of(cls, book: RuleBook, budgets: Sequence[BudgetRule]) -> Candidate:
        """Return a candidate of a rule book and its budgets."""
        return cls(book, {rule.rule_id: rule for rule in budgets})


@dataclass(frozen=True, slots=True, order=True)
class Flip:
    """Actions that come out differently, by what they were and would be."""

    before: str
    after: str
    tool: str
    agent_id: str
    currency: str


@dataclass(slots=True)
class Tally:
    """What a replay found; `add` joins two.

    ``flips`` maps to (count, sum in minor units); ``shown`` are the first of them as
    (action id, before, after, rule that decides now). ``simulated`` of the replayed
    are of a demo's simulated history.
    """

    replayed: int = 0
    simulated: int = 0
    left_out: Counter[str] = field(default_factory=Counter)
    outcomes: Counter[str] = field(default_factory=Counter)
    flips: dict[Flip, tuple[int, int]] = field(default_factory=dict)
    shown: list[tuple[str, str, str, str]] = field(default_factory=list)

    @property
    def flipped(self) -> int:
        """Return how many actions come out differently."""
        return sum(count for count, _ in self.flips.values())

    def note(self, flip: Flip, minor_units: int) -> None:
        """Count one flip."""
        count, total = self.flips.get(flip, (0, 0))
        self.flips[flip] = (count + 1, total + minor_units)

    def add(self, other: Tally) -> None:
        """Take another tally in."""
        self.replayed += other.replayed
        self.simulated += other.simulated
        self.left_out += other.left_out
        self.outcomes += other.outcomes
        for flip, (count, total) in other.flips.items():
            before, sums = self.flips.get(flip, (0, 0))
            self.flips[flip] = (before + count, sums + total)
        room = FLIPS_SHOWN_MAX - len(self.shown)
        self.shown += other.shown[: max(0, room)]


def replay(
    records: Iterable[Recorded], *, candidate: Candidate, live: Candidate
) -> Tally:
    """Put recorded requests to a candidate, and say what the live policy does not.

    What the live version itself decided is taken as recorded; what an earlier one
    decided is put to the live policy as well, so that a flip is always what publishing
    the candidate now would change.
    """
    found = Tally()
    for one in records:
        unknown = candidate.book.reads - one.decided.question.totals.keys()
        if unknown or one.code in NOT_OF_POLICY:
            found.left_out["total_not_recorded" if unknown else one.code] += 1
            continue
        if one.decided.policy_version == live.book.version:
            before = label_of(one.word, one.quorum)
        else:
            before = label(decision_of(one.decided, live))
        again = decision_of(one.decided, candidate)
        after = label(again)
        found.replayed += 1
        found.simulated += one.simulated
        found.outcomes[after] += 1
        if before == after:
            continue
        question = one.decided.question
        flip = Flip(
            before, after, question.tool, question.agent.agent_id, question.currency
        )
        found.note(flip, question.amount_minor_units)
        if len(found.shown) < FLIPS_SHOWN_MAX:
            rule = again.reasons[0].rule or again.reasons[0].code
            found.shown.append((one.action_id, before, after, rule))
    return found


def decision_of(decided: Decided, policy: Candidate) -> Decision:
    """Decide a recorded request as the flow would, under this policy."""
    question, totals = decided.question, decided.question.totals
    # The names of totals are part of the schema: what is not asked is left out.
    known = {name: totals.get(name, 0) for name in policy.book.totals}
    question = replace(question, totals=known)
    decision = authorize.decide(question, policy.book)
    if not isinstance(decision, Deny):
        match decided.verdict:
            case VerdictWord.CLEAN:
                pass
            case VerdictWord.BLOCK:
                decision = Deny((Reason("blocked", "a guard blocked it"),))
            case VerdictWord.HOLD:
                question = replace(question, findings=decided.findings, standing=False)
                reasons = tuple(Reason(code, code) for code in decided.findings)
                again = authorize.decide(question, policy.book)
                decision = authorize.hold(again, reasons, policy.book)
            case _:
                assert_never(decided.verdict)
    unsigned = isinstance(decision, Permit) and question.tier == Tier.CONSEQUENTIAL
    if unsigned and not decided.question.standing:
        return Deny((Reason("unsigned", "nobody signed for this"),))
    full = _full(decided, policy)
    if full and not isinstance(decision, Deny):
        return Deny((over_budget([full]),))
    return decision


def label(decision: Decision) -> str:
    """Return what came out, with the signatures that it takes."""
    match decision:
        case Permit():
            return "permit"
        case Deny():
            return "deny"
        case Escalate():
            quorum = decision.quorum
            return label_of("escalate", (quorum.approvers_min, quorum.role))
        case _:
            assert_never(decision)


def label_of(word: str, quorum: tuple[int, str] | None) -> str:
    """Return the same for a recorded decision."""
    return f"{word} {quorum[0]} {quorum[1]}" if quorum else word


def to_json(tally: Tally) -> dict[str, Any]:
    """Return a tally as JSON, to be joined elsewhere."""
    return {
        "replayed": tally.replayed,
        "simulated": tally.simulated,
        "flipped": tally.flipped,
        "left_out": dict(tally.left_out),
        "outcomes": dict(tally.outcomes),
        "flips": [
            {
                "before": flip.before,
                "after": flip.after,
                "tool": flip.tool,
                "agent": flip.agent_id,
                "currency": flip.currency,
                "count": count,
                "minor_units": total,
            }
            for flip, (count, total) in sorted(tally.flips.items())
        ],
        "shown": [list(one) for one in tally.shown],
    }


def from_json(raw: Mapping[str, Any]) -> Tally:
    """Read a tally back."""
    return Tally(
        replayed=raw["replayed"],
        simulated=raw.get("simulated", 0),
        left_out=Counter(raw["left_out"]),
        outcomes=Counter(raw["outcomes"]),
        flips={
            Flip(
                one["before"], one["after"], one["tool"], one["agent"], one["currency"]
            ): (one["count"], one["minor_units"])
            for one in raw["flips"]
        },
        shown=[(a, b, c, d) for a, b, c, d in raw["shown"]],
    )


def _full(decided: Decided, policy: Candidate) -> str:
    """Return the first budget of this policy without room, or nothing.

    A budget keeps what it had taken; only its limit is the candidate's. One without a
    limit of its own is bounded by a receipt, as it was then. Money that no budget of
    the candidate counts is not there, as in the flow.
    """
    question = decided.question
    counted = {rule.unit for rule in policy.budgets.values()}
    if question.amount_minor_units and question.currency not in counted:
        return UNCOVERED
    for one in decided.taken:
        rule = policy.budgets.get(one.rule_id)
        if one.rule_id == _STANDING or (rule is None and one.rule_id != UNCOVERED):
            continue
        own = None if rule is None else rule.limit
        limit = one.limit if own is None else own
        cap = None if rule is None else rule.per_action
        if one.taken + one.amount > limit or (cap is not None and one.amount > cap):
            return one.rule_id
    return ""
