"""Stage 2, authorize: ask the policy, get Permit, Deny or Escalate with reasons.

Cedar answers yes or no; the third answer comes from asking twice, with ``approved``
false and then true. If only the second permits, a person must sign, and the
annotations of the rules that permitted say who. Any evaluation error is a Deny,
because Cedar silently skips a forbid that fails to evaluate.

Of the policy only a slice is asked, made once for each action: rules whose scope names
other actions could not match, and the context holds just what the others look at.

Source: DESIGN, chapter 7 (Policy); docs/adr/0004.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, assert_never

import cedarpy

from broker.core.words.decision import (
    Decision,
    Deny,
    Escalate,
    Permit,
    Quorum,
    Reason,
    strictest_quorum,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

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


@dataclass(frozen=True, slots=True)
class Slice:
    """The rules of a policy that can match one action, and what they look at.

    ``looks_at`` are the attributes of the context that the rules look at, ``reads`` the
    totals in it. ``signed`` are the rules to ask again as if somebody had signed, None
    if no rule looks at that: then the second answer is the first. A forbid that does
    not look at it is ``settled`` and not among them: it answers the same again, so
    after an answer in which none of these forbade, none will.
    """

    rules: cedarpy.PolicySet
    signed: cedarpy.PolicySet | None
    settled: frozenset[str]
    looks_at: frozenset[str]
    reads: frozenset[str]


# Compared by identity, so that it can key the cache of parsed agents.
@dataclass(frozen=True, slots=True, eq=False)
class RuleBook:
    """A published policy, parsed once: Cedar handles and the annotations of each rule.

    ``slices`` has the rules for each action. ``actions`` are the entities of the schema
    itself: without them Cedar does not know that orders.refund is in "money", and a
    forbid on the group would match nothing. ``totals`` are the budget rules whose
    totals a rule may look at, ``counts`` those of them that count actions, and
    ``reads`` those that the text does look at: only these must not have moved when the
    action is reserved. ``hold`` is the quorum asked for when a guard holds what the
    policy would permit.
    """

    version: int
    slices: Mapping[str, Slice]
    actions: cedarpy.Entities
    rules: Mapping[str, Rule]
    totals: frozenset[str]
    reads: frozenset[str]
    counts: frozenset[str]
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
    (Monday is 1), both in UTC. ``chain`` are the agents on whose authority this one
    acts, ``on_behalf_of`` the kind of party at the end of it; both empty for an agent
    that asks for itself.
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
    chain: tuple[AgentFacts, ...] = ()
    on_behalf_of: str = ""


# What a rule may look at, and its type. Cedar is given no schema when it is asked, so
# that it need not check each request against it: this module checks the types.
_CONTEXT: Mapping[str, tuple[Callable[[Question], object], type]] = {
    "tier": (lambda asked: asked.tier, int),
    "amount": (lambda asked: asked.amount_minor_units, int),
    "currency": (lambda asked: asked.currency, str),
    "channel": (lambda asked: asked.channel, str),
    "topics": (lambda asked: asked.topics, tuple),
    "customer_flags": (lambda asked: asked.customer_flags, tuple),
    "locale": (lambda asked: asked.locale, str),
    "verification": (lambda asked: asked.verification, int),
    "customer_bound": (lambda asked: asked.customer_bound, bool),
    "proof": (lambda asked: asked.proof, bool),
    "standing": (lambda asked: asked.standing and asked.proof, bool),
    "approved": (lambda _: False, bool),
    "findings": (lambda asked: asked.findings, tuple),
    "release": (lambda asked: asked.release, str),
    "hour": (lambda asked: asked.hour, int),
    "weekday": (lambda asked: asked.weekday, int),
    "chain": (
        lambda asked: tuple(one.agent_id for one in (asked.agent, *asked.chain)),
        tuple,
    ),
    "on_behalf_of": (lambda asked: asked.on_behalf_of, str),
}
_APPROVED = "approved"
_SUMS, _COUNTS = "sum_within", "count_within"
_ERROR = Reason("policy_error", "the policy could not be evaluated")


def decide(question: Question, book: RuleBook) -> Decision:
    """Answer whether the action may happen, and who must sign if somebody must.

    Three facts are checked before any policy is asked, so that no policy can grant
    them: the tool is granted to the agent, the tier is within the agent's ceiling,
    and a standing approval counts only with proof of possession.

    Who acts on the authority of other agents may do what each of them may: the question
    is asked for every agent of the chain, and the strictest answer counts: most
    signatures, in the shortest time. An approval asks one role, so that signatures of
    different roles cannot be had, and the answer is no.
    """
    agents = (question.agent, *question.chain)
    answers = [_decide_for(question, agent, book) for agent in agents]
    worst = max(answers, key=_severity)
    asks = [one for one in answers if isinstance(one, Escalate)]
    if len(asks) < 2 or not isinstance(worst, Escalate):  # noqa: PLR2004  (one, or several)
        return worst
    roles = sorted({one.quorum.role for one in asks})
    if len(roles) > 1:
        text = f"the agents of this chain need signatures of {' and of '.join(roles)}"
        return Deny((Reason("chain_roles_differ", text),))
    reasons = dict.fromkeys(reason for one in asks for reason in one.reasons)
    return Escalate((*reasons,), strictest_quorum([one.quorum for one in asks]))


def _decide_for(question: Question, agent: AgentFacts, book: RuleBook) -> Decision:
    """Decide as if this agent alone asked."""
    bare = _outside_the_grant(question, agent)
    if bare is not None:
        return Deny((bare,))
    cut = book.slices.get(question.tool)
    context = None if cut is None else _context(question, book, cut)
    if cut is None or context is None:
        return Deny((_ERROR,))
    asked = _Asked(question, agent, book)
    now = _ask(asked, cut.rules, context)
    if isinstance(now, Permit) or now.reasons[0] is _ERROR or cut.signed is None:
        return now
    settled = any(reason.rule in cut.settled for reason in now.reasons)
    again = cut.rules if settled else cut.signed
    # "approved" stands last in the context.
    context = f"{context.removesuffix('false}')}true}}"
    signed = _ask(asked, again, context)
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


def _severity(decision: Decision) -> tuple[int, int, float]:
    """Order decisions: a deny, more signatures, less time to sign."""
    match decision:
        case Permit():
            return 0, 0, 0
        case Escalate():
            return 1, decision.quorum.approvers_min, -decision.quorum.expires_s
        case Deny():
            return 2, 0, 0
        case _:
            assert_never(decision)


def _outside_the_grant(question: Question, agent: AgentFacts) -> Reason | None:
    if question.tool not in agent.tools:
        return Reason("tool_not_granted", f"{question.tool} is not granted")
    if question.tier > agent.tier_max:
        return Reason(
            "tier_above_ceiling", f"tier {question.tier} is above the agent's"
        )
    return None


@dataclass(frozen=True, slots=True)
class _Asked:
    """A question, about one agent of its chain, to one policy."""

    question: Question
    agent: AgentFacts
    book: RuleBook


def _ask(asked: _Asked, rules: cedarpy.PolicySet, context: str) -> Permit | Deny:
    book = asked.book
    request = {
        "principal": {"type": "Agent", "id": asked.agent.agent_id},
        "action": {"type": "Action", "id": asked.question.tool},
        "resource": {"type": "Connector", "id": asked.question.connector},
        "context": context,
    }
    result = cedarpy.is_authorized(request, rules, _entities(asked.agent, book))
    if result.diagnostics.errors or result.decision is cedarpy.Decision.NoDecision:
        return Deny((_ERROR,))
    named = _determining(result, book)
    if result.allowed:
        return Permit(
            tuple(
                Reason("rule", r.text, rule=r.rule_id, clause=r.clause) for r in named
            )
        )
    if named:
        code = "forbidden_by_rule"
        return Deny(tuple(Reason(code, r.text, r.rule_id, r.clause) for r in named))
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
    quorum = strictest_quorum([one for _, one in asking])
    # A row of a table is two rules, and is named once.
    said = {(rule.clause, rule.text): rule for rule, _ in reversed(asking)}
    reasons = tuple(
        Reason("needs_approval", rule.text, rule.rule_id, rule.clause)
        for rule in sorted(said.values(), key=lambda rule: rule.rule_id)
    )
    return Escalate(reasons, quorum)


def _context(question: Question, book: RuleBook, cut: Slice) -> str | None:
    """Return what the rules look at as JSON, nobody having signed.

    None if something is missing or of another type: that must not be taken for false.
    """
    totals = question.totals
    if not totals.keys() >= book.reads:
        return None
    found: dict[str, object] = {}
    for name, (value_of, kind) in _CONTEXT.items():
        if name in cut.looks_at and name != _APPROVED:
            value = found[name] = value_of(question)
            if type(value) is not kind:
                return None
            if kind is tuple and not all(type(one) is str for one in value):  # type: ignore[attr-defined]
                return None
    if not all(type(totals[name]) is int for name in cut.reads):
        return None
    if _SUMS in cut.looks_at:
        found[_SUMS] = {n: totals[n] for n in sorted(cut.reads - book.counts)}
    if _COUNTS in cut.looks_at:
        found[_COUNTS] = {n: totals[n] for n in sorted(cut.reads & book.counts)}
    if _APPROVED in cut.looks_at:
        found[_APPROVED] = False
    return json.dumps(found)


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
