"""Explain to a person what would be decided, by what, and what would make it pass.

The same case, policy, guards and budgets as the flow's; nothing is done or recorded.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from broker import case as cases
from broker import deciding
from broker.core import approve, guard, limit
from broker.core.approvals.card import level_name
from broker.core.canonical import CanonicalError, digest
from broker.core.decisions.explain import Change, Way, remaining, ways
from broker.core.words.action import (
    ActionRecord,
    ActionRequest,
    ActionState,
    Requester,
)
from broker.core.words.decision import (
    Decision,
    Deny,
    Escalate,
    Reason,
    Verdict,
    VerdictWord,
    word_of,
)
from broker.core.words.errors import InvalidError, NotFoundError
from broker.core.words.moment import write_moment
from broker.core.words.money import Money, is_currency
from broker.core.words.subject import VerificationLevel

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from broker.case import Case
    from broker.core.authorize import Question, RuleBook
    from broker.core.words.budget import BudgetRule, Line
    from broker.ports import Ports


@dataclass(frozen=True, slots=True)
class Explanation:
    """What would be decided now about one request, and why.

    ``question`` is what policy was asked, None if it was not asked; ``looked_at`` are
    the running totals that rules look at, with their units; ``lines`` what the action
    would take from which budgets; ``ways`` what would make it pass.
    """

    decision: Decision
    verdict: Verdict = deciding.CLEAN
    question: Question | None = None
    policy_version: int = 0
    looked_at: tuple[tuple[str, int, str], ...] = ()
    lines: tuple[Line, ...] = ()
    ways: tuple[Way, ...] = ()


@dataclass(frozen=True, slots=True)
class Supposed:
    """A request that nobody made: this agent, in this conversation, with this tool."""

    agent_id: str
    interaction_id: str
    tool: str
    arguments: Mapping[str, Any]


async def of_action(ports: Ports, action_id: str) -> ActionRecord:
    """Return the stored action that a person asks about.

    Raises:
        NotFoundError: there is none.
    """
    stored = await ports.store.action(action_id)
    if stored is None:
        msg = "there is no such action"
        raise NotFoundError(msg)
    # Asked as if for the first time: what people signed since is not what decides.
    return replace(stored, approval_id="", standing_approval="")


async def supposed(ports: Ports, wanted: Supposed) -> ActionRecord:
    """Return the action that this request would become.

    Raises:
        InvalidError: there is no such tool or conversation, or not for this agent.
    """
    tool = ports.shelf.tool(wanted.tool)
    if tool is None:
        msg = "there is no such tool"
        raise InvalidError(msg, pointer="/tool")
    interaction = await ports.store.interaction(wanted.interaction_id)
    if interaction is None or interaction.agent_id != wanted.agent_id:
        msg = "this agent has no such conversation"
        raise InvalidError(msg, pointer="/interaction")
    try:
        arguments_digest = digest(dict(wanted.arguments))
    except CanonicalError as error:
        raise InvalidError(str(error), pointer="/arguments") from error
    # In what is stored, this would mean that the tool has changed since.
    guard.bind(tool, wanted.arguments)
    now = ports.clock.now()
    return ActionRecord(
        request=ActionRequest(
            action_id=ports.ids.new(),
            tool=tool.name,
            arguments=wanted.arguments,
            arguments_digest=arguments_digest,
            interaction_id=interaction.interaction_id,
            reason="",
            citations=(),
            idempotency_key="",
            asked_at=now,
        ),
        requester=_full_strength(wanted.agent_id),
        tenant=interaction.tenant,
        environment=interaction.environment,
        customer_ref=interaction.customer_ref,
        state=ActionState.READY,
        decision="",
        reasons=(),
        findings=(),
        asked=None,
        policy_version=0,
        manifest=tool.digest,
        standing_approval="",
        approval_id="",
        digest="",
        warrant_id="",
        idempotency_key="",
        outcome=None,
        created_at=now,
        expires_at=None,
    )


def _full_strength(agent_id: str) -> Requester:
    """Return the agent as it asks at its strongest: itself, with a proof."""
    return Requester(
        agent_id=agent_id,
        instance_id="",
        kid="",
        grant_id="",
        proof_of_possession=True,
        epochs=(),
    )


async def explained(ports: Ports, stored: ActionRecord) -> Explanation:
    """Decide about an action from signed rows as they stand now, and say why."""
    case = await cases.reopened(ports, stored)
    if isinstance(case, Reason):
        return Explanation(Deny((case,)))
    refusal = cases.stands(case, stored)
    if refusal is not None:
        return Explanation(Deny((refusal,)))
    case, decision = await deciding.authorized(ports, case)
    decision, verdict = await deciding.guarded(ports, case, decision)
    standing = case.standing.approval_id if case.standing else ""
    decision = approve.permitted(decision, tier=case.tool.tier, standing=standing)
    policy_says = decision
    over = limit.admit(case.lines).over
    if over and not isinstance(decision, Deny):
        decision = Deny((limit.over_budget([line.rule_id for line in over]),))
    return Explanation(
        decision=decision,
        verdict=verdict,
        question=case.put,
        policy_version=case.view.policy.book.version,
        looked_at=looked_at(
            case.totals or {},
            book=case.view.policy.book,
            budgets=case.view.policy.budgets,
        ),
        lines=case.lines,
        ways=_ways(case, verdict, policy_says),
    )


def _ways(case: Case, verdict: Verdict, decision: Decision) -> tuple[Way, ...]:
    if case.put is None or verdict.word is VerdictWord.BLOCK:
        return ()
    if verdict.word is VerdictWord.HOLD:
        # What a guard found, people can weigh; nothing else takes it away.
        if not isinstance(decision, Escalate):
            return ()
        people = ((Change.PEOPLE, decision.quorum.approvers_min),)
        return (Way(people, decision),)
    return ways(case.put, case.view.policy.book, case.lines)


def looked_at(
    totals: Mapping[str, int], *, book: RuleBook, budgets: Iterable[BudgetRule]
) -> tuple[tuple[str, int, str], ...]:
    """Return the running totals that rules of a policy look at: name, value, unit."""
    units = {rule.rule_id: rule.unit for rule in budgets}
    return tuple(
        (name, totals.get(name, 0), units.get(name, "")) for name in sorted(book.reads)
    )


# -------------------------------------------------------------------- shown to people


def as_json(found: Explanation) -> dict[str, Any]:
    """Return an explanation as people see it, with its numbers."""
    question = found.question
    asked: dict[str, Any] = {}
    if question is not None:
        asked = {
            "effect": question.effect,
            "tier": question.tier,
            "use_case": question.agent.use_case,
            "amount_minor_units": question.amount_minor_units,
            "currency": question.currency,
            "channel": question.channel,
            "topics": list(question.topics),
            "customer_flags": list(question.customer_flags),
            "verification": VerificationLevel(question.verification).name.lower(),
            "standing_approval": question.standing,
        }
    return {
        **_decision_json(found.decision),
        "policy_version": found.policy_version,
        "asked": asked,
        "findings": [
            {"code": f.code, "argument": f.pointer, "text": f.text}
            for f in found.verdict.findings
        ],
        "totals": [
            {"total": name, "value": value, "unit": unit}
            for name, value, unit in found.looked_at
        ],
        "budgets": [_line_json(line) for line in found.lines],
        "would_pass": [
            _way_json(way, question.currency if question else "") for way in found.ways
        ],
    }


def _decision_json(decision: Decision) -> dict[str, Any]:
    """Return a decision with its rules, clauses and texts, and who must sign."""
    found: dict[str, Any] = {
        "decision": word_of(decision),
        "reasons": [
            {"code": r.code, "rule": r.rule, "clause": r.clause, "text": r.text}
            for r in decision.reasons
        ],
    }
    if isinstance(decision, Escalate):
        found["quorum"] = {
            "approvers_min": decision.quorum.approvers_min,
            "role": decision.quorum.role,
            "expires_s": decision.quorum.expires_s,
            "remind_s": decision.quorum.remind_s,
            "ladder": [
                {"role": rung.role, "after_s": rung.after_s}
                for rung in decision.quorum.ladder
            ],
            "customer": level_name(decision.quorum),
        }
    return found


def _line_json(line: Line) -> dict[str, Any]:
    return {
        "rule": line.rule_id,
        "unit": line.unit,
        "window": line.window.value,
        "window_start": write_moment(line.window_start),
        "limit": line.limit,
        "posted": line.posted,
        "held": line.held,
        "this": line.amount,
        "remaining": remaining(line),
        "frozen": line.frozen,
    }


def _way_json(way: Way, currency: str) -> dict[str, Any]:
    changes = [
        {"change": change.value, "value": value, "text": _text(change, value, currency)}
        for change, value in way.changes
    ]
    return {"changes": changes, **_decision_json(way.decision)}


def _text(change: Change, value: int | str, currency: str) -> str:
    match change:
        case Change.PEOPLE:
            return f"{value} must sign, as the quorum says"
        case Change.STANDING:
            return "a standing approval must cover it"
        case Change.PROOF:
            return "the agent must prove that it holds its key"
        case Change.AMOUNT:
            shown = Money(int(value), currency) if is_currency(currency) else value
            return f"the amount must be at most {shown}"
        case Change.VERIFICATION:
            level = VerificationLevel(int(value)).name.lower()
            return f"the customer must be verified: {level}"
        case Change.ROOM:
            return f"the budget {value} must have room again"
