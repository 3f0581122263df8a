"""Stage 2, authorize: ask the policy, get Permit, Deny or Escalate with reasons.

Cedar answers yes or no; the third answer comes from asking twice, with ``approved``
false and then true. If only the second permits, a person must sign, and the
annotations of the rules that permitted say who. Any evaluation error is a Deny,
because Cedar silently skips a forbid that fails to evaluate.

Source: DESIGN, chapter 7 (Policy); docs/adr/0004.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import cedarpy

from broker.core.words.decision import (
    Decision,
    Deny,
    Escalate,
    Permit,
    Quorum,
    Reason,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

APPROVERS_MAX = 9
EXPIRES_S_MAX = 30 * 86_400
_AGENTS_KEPT = 1_024


@dataclass(frozen=True, slots=True)
class Rule:
    """What a policy's annotations say beside its text."""

    rule_id: str
    clause: str
    text: str
    quorum: Quorum | None


# Compared by identity, so that it can key the cache of parsed agents.
@dataclass(frozen=True, slots=True, eq=False)
class RuleBook:
    """A published policy, parsed once: Cedar handles and the annotations of each rule.

    ``actions`` are the entities of the schema itself: without them Cedar does not know
    that orders.refund is in "money", and a forbid on the group would match nothing.
    ``totals`` are the budget rules whose totals a rule may look at, ``counts`` those of
    them that count actions, and ``reads`` those that the text does look at: only these
    must not have moved when the action is reserved. ``looks_at`` are the attributes of
    the context that rules look at: the others are left out, and ``schema`` lacks them.
    ``hold`` is the quorum asked for when a guard holds what the policy would permit.
    """

    version: int
    policies: cedarpy.PolicySet
    schema: cedarpy.Schema
    actions: cedarpy.Entities
    rules: Mapping[str, Rule]
    totals: frozenset[str]
    reads: frozenset[str]
    counts: frozenset[str]
    looks_at: frozenset[str]
    hold: Quorum


@dataclass(frozen=True, slots=True)
class AgentFacts:
    """What the signed row of an agent says."""

    agent_id: str
    owner: str
    use_case: str
    environment: str
    tier_max: int
    tools: frozenset[str]


@dataclass(frozen=True, slots=True)
class Question:
    """Everything a policy may look at; derived by the broker, never sent by an agent.

    ``amount_minor_units`` is 0 for tools that move no money; ``totals`` maps each
    budget rule of the policy to what is posted or held in its window now, this action
    not included; ``hour`` is the hour of the day and ``weekday`` the day of the week
    (Monday is 1), both in UTC.
    """

    agent: AgentFacts
    tool: str
    connector: str
    effect: str
    tier: int
    amount_minor_units: int
    currency: str
    channel: str
    topics: tuple[str, ...]
    customer_flags: tuple[str, ...]
    locale: str
    verification: int
    customer_bound: bool
    proof: bool
    standing: bool
    findings: tuple[str, ...]
    release: str
    hour: int
    weekday: int
    totals: Mapping[str, int]


def decide(question: Question, book: RuleBook) -> Decision:
    """Answer whether the action may happen, and who must sign if somebody must.

    Three facts are checked before any policy is asked, so that no policy can grant
    them: the tool is granted to the agent, the tier is within the agent's ceiling,
    and a standing approval counts only with proof of possession.
    """
    bare = _outside_the_grant(question)
    if bare is not None:
        return Deny((bare,))
    now = _ask(question, book, approved=False)
    if isinstance(now, Deny) and now.reasons[0].code == "policy_error":
        return now
    if isinstance(now, Permit):
        return now
    signed = _ask(question, book, approved=True)
    if isinstance(signed, Permit):
        return _escalation(now, signed, book)
    # What forbids is the same in both answers; the second names it without the noise
    # of rules that only wait for a signature.
    return signed


def hold(decision: Decision, findings: tuple[Reason, ...], book: RuleBook) -> Decision:
    """Turn a permit into a question to a person because a guard found something."""
    if isinstance(decision, Permit):
        return Escalate(findings, book.hold)
    if isinstance(decision, Escalate):
        return Escalate(findings + decision.reasons, decision.quorum)
    return decision


def _outside_the_grant(question: Question) -> Reason | None:
    if question.tool not in question.agent.tools:
        return Reason("tool_not_granted", f"{question.tool} is not granted")
    if question.tier > question.agent.tier_max:
        return Reason(
            "tier_above_ceiling", f"tier {question.tier} is above the agent's"
        )
    return None


def _ask(question: Question, book: RuleBook, *, approved: bool) -> Permit | Deny:
    request = {
        "principal": {"type": "Agent", "id": question.agent.agent_id},
        "action": {"type": "Action", "id": question.tool},
        "resource": {"type": "Connector", "id": question.connector},
        "context": _context(question, book, approved=approved),
    }
    result = cedarpy.is_authorized(
        request, book.policies, _entities(question.agent, book), book.schema
    )
    if result.diagnostics.errors or result.decision is cedarpy.Decision.NoDecision:
        text = "the policy could not be evaluated"
        return Deny((Reason("policy_error", text),))
    named = tuple(
        Reason("rule", rule.text, rule=rule.rule_id, clause=rule.clause)
        for rule in _determining(result, book)
    )
    if result.allowed:
        return Permit(named)
    if named:
        code = "forbidden_by_rule"
        return Deny(tuple(Reason(code, r.text, r.rule, r.clause) for r in named))
    return Deny((Reason("no_rule", "no rule permits this"),))


def _determining(result: cedarpy.AuthzResult, book: RuleBook) -> list[Rule]:
    ids = result.diagnostics.id_annotations_by_reason
    found = [book.rules.get(ids.get(r) or r) for r in result.diagnostics.reasons]
    return sorted((r for r in found if r is not None), key=lambda rule: rule.rule_id)


def _escalation(unsigned: Deny, signed: Permit, book: RuleBook) -> Decision:
    """Ask for the strictest quorum among the rules that want a signature.

    Those are the rules that permit once somebody has signed, and the rules that forbid
    as long as nobody has: a forbid may ask for more people than the rule that permits.
    If no rule says who must sign, that is an error of the policy.
    """
    named = {reason.rule for reason in (*unsigned.reasons, *signed.reasons)}
    asking = [
        (rule, rule.quorum)
        for name in sorted(named)
        if (rule := book.rules.get(name)) is not None and rule.quorum is not None
    ]
    if not asking:
        text = "the rule that permits does not say who must approve"
        return Deny((Reason("policy_error", text),))
    most = max((quorum for _, quorum in asking), key=lambda one: one.approvers_min)
    quorum = Quorum(
        approvers_min=most.approvers_min,
        role=most.role,
        expires_s=min(one.expires_s for _, one in asking),
    )
    # A row of a table is two rules, and is named once.
    said = {(rule.clause, rule.text): rule for rule, _ in reversed(asking)}
    reasons = tuple(
        Reason("needs_approval", rule.text, rule.rule_id, rule.clause)
        for rule in sorted(said.values(), key=lambda rule: rule.rule_id)
    )
    return Escalate(reasons, quorum)


def _context(question: Question, book: RuleBook, *, approved: bool) -> dict[str, Any]:
    totals = {n: v for n, v in question.totals.items() if n in book.reads}
    everything = {
        "tier": question.tier,
        "amount": question.amount_minor_units,
        "currency": question.currency,
        "channel": question.channel,
        "topics": list(question.topics),
        "customer_flags": list(question.customer_flags),
        "locale": question.locale,
        "verification": question.verification,
        "customer_bound": question.customer_bound,
        "proof": question.proof,
        "standing": question.standing and question.proof,
        "approved": approved,
        "findings": list(question.findings),
        "release": question.release,
        "hour": question.hour,
        "weekday": question.weekday,
        "sum_within": {n: v for n, v in totals.items() if n not in book.counts},
        "count_within": {n: v for n, v in totals.items() if n in book.counts},
    }
    return {name: everything[name] for name in book.looks_at}


@lru_cache(maxsize=_AGENTS_KEPT)
def _entities(agent: AgentFacts, book: RuleBook) -> cedarpy.Entities:
    """Parse the agent's entity once; facts are frozen, so a change is another key."""
    return book.actions.with_added_json_str(
        json.dumps(
            [
                {
                    "uid": {"type": "Agent", "id": agent.agent_id},
                    "attrs": {
                        "owner": agent.owner,
                        "use_case": agent.use_case,
                        "environment": agent.environment,
                        "tier_max": agent.tier_max,
                        "tools": sorted(agent.tools),
                    },
                    "parents": [],
                }
            ]
        )
    )
