"""Stage 5, approve: who must sign, and is this approval valid for exactly this action.

An approval covers one digest: the frozen action together with the decision that asked
for it. A policy version that changes nothing in the decision keeps the digest, so the
approval is carried; anything else is asked again.

Source: DESIGN, chapter 3 (invariant 5); docs/adr/0006.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, assert_never

from broker.core.canonical import digest
from broker.core.words.approval import ApprovalState, Tally, VoteWord
from broker.core.words.decision import Decision, Deny, Escalate, Permit, Reason

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime

    from broker.core.words.action import ActionRequest, Bound
    from broker.core.words.approval import (
        ApprovalRequest,
        Approver,
        StandingApproval,
        Vote,
    )
    from broker.core.words.money import Money
    from broker.core.words.tool import Tool


def action_digest(
    request: ActionRequest,
    *,
    tool: Tool,
    bound: Bound,
    customer_ref: str,
    asked: Escalate,
) -> str:
    """Return the digest that an approval covers, in lower-case hex.

    It covers action, tool, manifest version, canonical arguments, customer, amount and
    the decision (rules with their codes, and the quorum); not the policy's version.
    """
    return digest(
        {
            "action": request.action_id,
            "tool": tool.name,
            "manifest": tool.digest,
            "arguments": request.arguments_digest,
            "interaction": request.interaction_id,
            "customer": customer_ref,
            "amount_minor_units": bound.amount.minor_units if bound.amount else None,
            "currency": bound.amount.currency if bound.amount else None,
            "rules": sorted([r.code, r.rule, r.clause] for r in asked.reasons),
            "quorum": {
                "approvers_min": asked.quorum.approvers_min,
                "role": asked.quorum.role,
                "expires_s": asked.quorum.expires_s,
            },
        }
    )


def carries(asked: Escalate, now: Decision) -> bool:
    """Return whether signatures under ``asked`` still answer what is asked ``now``.

    They do if nothing new is asked: the same quorum, and no rule or finding that the
    people who signed were not told about. A later permit asks for nothing.
    """
    match now:
        case Permit():
            return True
        case Escalate():
            told = {(r.code, r.rule, r.clause) for r in asked.reasons}
            new = {(r.code, r.rule, r.clause) for r in now.reasons} - told
            return not new and now.quorum == asked.quorum
        case Deny():
            return False
        case _:
            assert_never(now)


def standing_for(
    request: ActionRequest,
    bound: Bound,
    *,
    agent_id: str,
    standing: Iterable[StandingApproval],
    now: datetime,
) -> StandingApproval | None:
    """Return the standing approval that covers this action, or None.

    Of several, the one that ends first is used, so that the order in a table does not
    decide. What is left of its total is the reservation's business.
    """
    fitting = [
        s
        for s in standing
        if s.active
        and s.tool == request.tool
        and agent_id in s.agents
        and s.expires_at > now
        and len(set(s.signed_by)) > 1
        and _within(bound.amount, s)
        and all(
            _holds(constraint, request.arguments, pointer)
            for pointer, constraint in s.constraints.items()
        )
    ]
    return min(fitting, key=lambda s: (s.expires_at, s.approval_id), default=None)


def may_sign(person: Approver, request: ApprovalRequest) -> Reason | None:
    """Return why this person may not sign, or None if they may."""
    if not person.active:
        return Reason("approver_inactive", "this person is not active")
    if person.person_id in request.barred:
        return Reason("approver_barred", "the agent's owner may not sign for it")
    if request.quorum.role not in person.roles:
        role = request.quorum.role
        return Reason("approver_role", f"role {role} is needed to sign this")
    if request.amount is not None:
        limit = person.limits.get(request.amount.currency, 0)
        if request.amount.minor_units > limit:
            text = "the amount is above this person's approval limit"
            return Reason("approver_limit", text)
    return None


def tally(
    request: ApprovalRequest,
    votes: Iterable[Vote],
    *,
    people: Mapping[str, Approver],
    now: datetime,
) -> Tally:
    """Decide what the votes mean at ``now``.

    Only each person's latest vote counts, only for this digest, only from people who
    may sign; one reject refuses; the quorum counts different people.
    """
    latest: dict[str, Vote] = {}
    for vote in sorted(votes, key=lambda v: (v.at, v.vote_id)):
        person = people.get(vote.person_id)
        valid = (
            vote.approval_id == request.approval_id
            and vote.digest == request.digest
            and request.created_at <= vote.at < request.expires_at
        )
        if valid and person is not None and may_sign(person, request) is None:
            latest[vote.person_id] = vote
    for vote in latest.values():
        if vote.word is VoteWord.REJECT:
            return Tally(
                ApprovalState.REJECTED,
                rejected_by=vote.person_id,
                reason=vote.reason,
            )
    counted = tuple(sorted(latest))
    if len(counted) >= request.quorum.approvers_min:
        return Tally(ApprovalState.APPROVED, counted=counted)
    if now >= request.expires_at:
        return Tally(ApprovalState.EXPIRED, counted=counted)
    return Tally(ApprovalState.PENDING, counted=counted)


def _within(amount: Money | None, standing: StandingApproval) -> bool:
    if amount is None:
        return True
    return (
        amount.currency == standing.currency
        and amount.minor_units <= standing.per_action_minor_units
    )


def _holds(
    constraint: Mapping[str, Any], arguments: Mapping[str, Any], pointer: str
) -> bool:
    """Return whether one constraint holds; an unknown constraint never does."""
    value = arguments.get(pointer.removeprefix("/"))
    if set(constraint) == {"max"}:
        return type(value) is int and value <= constraint["max"]
    if set(constraint) == {"in"}:
        return value in constraint["in"]
    return False
