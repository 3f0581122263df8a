"""Why a request is answered as it is, and what would make it pass.

For people only: it says where the thresholds are. The policy is asked again with one
thing changed, or two, so that what is said would pass does pass; nothing is read out of
rules, and hand-written ones are explained like those of a table.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from broker.core.approve import permitted
from broker.core.authorize import Question, RuleBook, decide
from broker.core.limit import fits
from broker.core.words.decision import Decision, Deny, Escalate, Permit
from broker.core.words.effect import Tier
from broker.core.words.subject import VerificationLevel

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from broker.core.words.budget import Line


class Change(StrEnum):
    """One thing that would have to be different."""

    PEOPLE = "people_sign"
    STANDING = "standing_approval"
    PROOF = "proof_of_possession"
    AMOUNT = "amount_at_most"
    VERIFICATION = "verification_at_least"
    ROOM = "room_in_budget"


Changes = tuple[tuple[Change, int | str], ...]

ASIDE: Final = "standing"
"""What stands for the standing approval that a changed question supposes."""


@dataclass(frozen=True, slots=True)
class Way:
    """Changes that go together, and what would then be decided.

    ``changes`` are (change, value): minor units for an amount, a level for a
    verification, the rule's name for a budget, the number of people who sign.
    """

    changes: Changes
    decision: Decision


def answer(question: Question, book: RuleBook) -> Decision:
    """Return what policy and the approve stage say together."""
    standing = ASIDE if question.standing and question.proof else ""
    return permitted(
        decide(question, book), tier=Tier(question.tier), standing=standing
    )


def ways(question: Question, book: RuleBook, lines: Sequence[Line]) -> tuple[Way, ...]:
    """Return what would make a request pass, or pass without people; the fewest first.

    Args:
        question: What policy was asked.
        book: The policy in force.
        lines: What the action would take from budgets, with what they hold.

    Returns:
        At most one way for each combination of changes; none if it passes already, or
        if nothing that could change here would help.
    """
    room = _room(question, lines)
    full = [line.rule_id for line in lines if not fits(line)]
    now = answer(question, book)
    if isinstance(now, Permit) and not full:
        return ()
    found = list(_policy_ways(question, book, now))
    if not full:
        return tuple(found)
    # Whatever else changes, there must be room as well: less money, or a new window.
    if room is not None and room >= 1:
        smaller = replace(question, amount_minor_units=room)
        decision = answer(smaller, book)
        if not isinstance(decision, Deny):
            return (Way(((Change.AMOUNT, room),), decision),)
    waiting = tuple((Change.ROOM, name) for name in full)
    if not isinstance(now, Deny):
        return (Way(waiting, now),)
    return tuple(Way((*waiting, *way.changes), way.decision) for way in found)


def _policy_ways(question: Question, book: RuleBook, now: Decision) -> Iterator[Way]:
    if isinstance(now, Escalate):
        people = ((Change.PEOPLE, now.quorum.approvers_min),)
        yield Way(people, Permit(now.reasons))
        signed = replace(question, standing=True, proof=True)
        decision = answer(signed, book)
        if isinstance(decision, Permit):
            yield Way(tuple(_signed(question)), decision)
        return
    seen = False
    for changes, changed in _singles(question, book):
        decision = answer(changed, book)
        if not isinstance(decision, Deny):
            seen = True
            yield Way(changes, decision)
    if seen:
        return
    for first, better in _verified(question):
        amount = _amount(better, book)
        if amount is not None:
            changed = replace(better, amount_minor_units=amount)
            yield Way((*first, (Change.AMOUNT, amount)), answer(changed, book))
            return


def _singles(question: Question, book: RuleBook) -> Iterator[tuple[Changes, Question]]:
    for changes, changed in _verified(question):
        if not isinstance(answer(changed, book), Deny):
            yield changes, changed
            break
    amount = _amount(question, book)
    if amount is not None:
        smaller = replace(question, amount_minor_units=amount)
        yield ((Change.AMOUNT, amount),), smaller
    signed = replace(question, standing=True, proof=True)
    yield tuple(_signed(question)), signed


def _verified(question: Question) -> Iterator[tuple[Changes, Question]]:
    for level in VerificationLevel:
        if level > question.verification:
            changed = replace(question, verification=int(level), customer_bound=True)
            yield ((Change.VERIFICATION, int(level)),), changed


def _signed(question: Question) -> Iterator[tuple[Change, int | str]]:
    if not question.standing:
        yield (Change.STANDING, "")
    if not question.proof:
        yield (Change.PROOF, "")


def _amount(question: Question, book: RuleBook) -> int | None:
    """Return the largest smaller amount at the edge of what is not denied."""
    low, high = 1, question.amount_minor_units
    if high <= 1 or _denied(question, low, book):
        return None
    while high - low > 1:
        middle = (low + high) // 2
        if _denied(question, middle, book):
            high = middle
        else:
            low = middle
    return low


def _denied(question: Question, amount: int, book: RuleBook) -> bool:
    changed = replace(question, amount_minor_units=amount)
    return isinstance(answer(changed, book), Deny)


def _room(question: Question, lines: Sequence[Line]) -> int | None:
    """Return the most that every budget of this currency has room for."""
    spare = [remaining(line) for line in lines if line.unit == question.currency]
    return min(spare, default=None)


def remaining(line: Line) -> int:
    """Return what a budget has room for, in one action: nothing while it is frozen."""
    if line.frozen:
        return 0
    spare = max(0, line.limit - line.posted - line.held)
    return spare if line.per_action is None else min(spare, line.per_action)
