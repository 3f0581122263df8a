"""Stage 5, approve: who must sign, and is this approval valid for exactly this action.

An approval covers one digest: the frozen action together with the decision that asked
for it. A policy version that changes nothing in the decision keeps the digest, so the
approval is carried; anything else is asked again.

Source: DESIGN, chapter 3 (invariant 5); docs/adr/0006.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, assert_never

from broker.core.canonical import digest
from broker.core.words.approval import (
    CUSTOMER,
    ApprovalRequest,
    ApprovalState,
    Confirmer,
    Tally,
    VoteWord,
)
from broker.core.words.decision import Decision, Deny, Escalate, Permit, Reason
from broker.core.words.effect import Tier

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime

    from broker.core.words.action import (
        ActionRecord,
        ActionRequest,
        Bound,
        Requester,
    )
    from broker.core.words.approval import Approver, StandingApproval, Vote
    from broker.core.words.decision import Quorum
    from broker.core.words.money import Money
    from broker.core.words.subject import Interaction
    from broker.core.words.tool import Tool

STANDING_TRIED_MAX: Final = 8
"""Most standing approvals that are looked at for one action: each asks SQL again."""

ACTED_ON_S_MAX: Final = 86_400
"""How long after its time an approval is still acted on: what was approved at the last
minute is executed, also after an outage of a day. What people meant then is not what
they may mean next week: after that it has to be asked anew."""

VOTE_EARLY_S_MAX: Final = 60
"""How many seconds a vote's own clock may lag behind the question's."""


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
                "remind_s": asked.quorum.remind_s,
                "ladder": [[r.role, r.after_s] for r in asked.quorum.ladder],
                "customer": asked.quorum.customer,
            },
        }
    )


def permitted(decision: Decision, *, tier: Tier, standing: str) -> Decision:
    """Return the decision, or a Deny: no rule alone permits a Tier 3 action.

    Args:
        decision: What policy and guards said.
        tier: The tool's.
        standing: The standing approval that signed in advance, empty if none did.
    """
    if not (isinstance(decision, Permit) and tier is Tier.CONSEQUENTIAL):
        return decision
    if not standing:
        text = "nobody signed for this, and a rule alone cannot permit it"
        return Deny((Reason("unsigned", text),))
    return replace(decision, standing_approval=standing)


def asked_of(
    record: ActionRecord,
    *,
    tool: Tool,
    bound: Bound,
    owner: str,
    interaction: Interaction,
) -> ApprovalRequest | None:
    """Return what people are asked to sign for a stored action, None if nobody is.

    Every part comes from the sealed record and from signed rows: the columns of the
    approvals table find an approval, and what is written there grants nothing.

    Args:
        record: The stored action.
        tool: Its manifest.
        bound: What the manifest derives from its arguments.
        owner: The agent's owner by its signed row, who may not sign.
        interaction: The action's, whose customer confirms if that is asked.
    """
    if record.asked is None or not record.approval_id:
        return None
    asked_at = asked_since(record)
    return ApprovalRequest(
        approval_id=record.approval_id,
        action_id=record.request.action_id,
        digest=action_digest(
            record.request,
            tool=tool,
            bound=bound,
            customer_ref=record.customer_ref,
            asked=record.asked,
        ),
        quorum=record.asked.quorum,
        amount=bound.amount,
        barred=barred(
            owner=owner, requester=record.requester, author=record.policy_author
        ),
        state=ApprovalState.PENDING,
        created_at=asked_at,
        expires_at=asked_at + timedelta(seconds=record.asked.quorum.expires_s),
        confirmer=confirmer(record.asked.quorum, interaction),
    )


def confirmer(quorum: Quorum, interaction: Interaction) -> Confirmer | None:
    """Return who confirms beside the people of a quorum; None if nobody has to."""
    if not quorum.customer:
        return None
    return Confirmer(
        interaction_id=interaction.interaction_id,
        channel_id=interaction.channel_id,
        customer_id=interaction.customer_id,
        level=quorum.customer,
    )


def asked_since(record: ActionRecord) -> datetime:
    """Return when people were asked what they are asked now."""
    return record.asked_again_at or record.request.asked_at


def barred(*, owner: str, requester: Requester, author: str) -> frozenset[str]:
    """Return who may not sign.

    They are whoever asked, the owner of the agent that did, and the author of the
    policy that put the question. Where agents act for others that is everybody's owner,
    and the person at the end of the chain: who lends authority to an agent does not
    sign for what it does with it.
    """
    people = {owner, requester.agent_id, author, *requester.barred}
    return frozenset(people - {""})


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
) -> tuple[StandingApproval, ...]:
    """Return the standing approvals that cover this action; use the first with room.

    The one that ends first comes first, so that the order in a table does not decide.
    What is left of its total is the reservation's business. At most STANDING_TRIED_MAX.
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
    order = sorted(fitting, key=lambda s: (s.expires_at, s.approval_id))
    return tuple(order[:STANDING_TRIED_MAX])


def roles_at(request: ApprovalRequest, moment: datetime) -> frozenset[str]:
    """Return the roles of which people may sign at a moment.

    The first role may from the beginning to the end; the others follow as the ladder
    says. It follows from what was signed and from the time, and from nothing that was
    done at that time: no process that is late can keep it from happening.
    """
    return roles_of(request.quorum, since=request.created_at, moment=moment)


def roles_of(quorum: Quorum, *, since: datetime, moment: datetime) -> frozenset[str]:
    """Return the roles of a quorum at a moment, if people were asked at ``since``."""
    open_s = (moment - since).total_seconds()
    later = {rung.role for rung in quorum.ladder if rung.after_s <= open_s}
    return frozenset({quorum.role, *later})


def may_sign(
    person: Approver,
    request: ApprovalRequest,
    *,
    at: datetime,
    word: VoteWord = VoteWord.APPROVE,
) -> Reason | None:
    """Return why this person may not sign at that moment, or None if they may.

    An own limit binds a yes only: to say no to a large amount takes no limit.
    """
    if not person.active:
        return Reason("approver_inactive", "this person is not active")
    if person.person_id in request.barred:
        text = "neither the agent's owner, nor whoever asked or wrote the policy, signs"
        return Reason("approver_barred", text)
    if person.roles.isdisjoint(roles_at(request, at)):
        role = request.quorum.role
        return Reason("approver_role", f"role {role} is needed to sign this")
    if person.suspended and word is VoteWord.APPROVE:
        text = "this person's right to approve is suspended"
        return Reason("approver_suspended", text)
    if request.amount is not None and word is VoteWord.APPROVE:
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
    may sign; one reject refuses; the quorum counts different people. Where the
    customer confirms as well, both are needed. A vote may seem
    VOTE_EARLY_S_MAX older than the question: it is in whole seconds, by the clock of
    whoever signed.
    """
    latest = latest_votes(request, votes, people=people)
    for vote in latest.values():
        if vote.word is VoteWord.REJECT:
            return Tally(
                ApprovalState.REJECTED,
                rejected_by=vote.person_id,
                reason=vote.reason,
            )
    counted, customer = tuple(sorted(latest.keys() - {CUSTOMER})), CUSTOMER in latest
    enough = len(counted) >= request.quorum.approvers_min
    if enough and (customer or not request.quorum.customer):
        return Tally(ApprovalState.APPROVED, counted=counted, customer=customer)
    if now >= request.expires_at:
        return Tally(ApprovalState.EXPIRED, counted=counted, customer=customer)
    return Tally(ApprovalState.PENDING, counted=counted, customer=customer)


def lapsed(request: ApprovalRequest, *, now: datetime) -> bool:
    """Return whether an approval is too old to be acted on, whoever signed it."""
    return now >= request.expires_at + timedelta(seconds=ACTED_ON_S_MAX)


def latest_votes(
    request: ApprovalRequest,
    votes: Iterable[Vote],
    *,
    people: Mapping[str, Approver],
) -> dict[str, Vote]:
    """Return each person's latest vote that counts, by person; the customer's too."""
    begin = request.created_at - timedelta(seconds=VOTE_EARLY_S_MAX)
    latest: dict[str, Vote] = {}
    for vote in sorted(votes, key=lambda v: (v.at, v.vote_id)):
        if (
            vote.approval_id == request.approval_id
            and vote.digest == request.digest
            and begin <= vote.at < request.expires_at
            and _may_vote(vote, request, people)
        ):
            latest[vote.person_id] = vote
    return latest


def _may_vote(
    vote: Vote, request: ApprovalRequest, people: Mapping[str, Approver]
) -> bool:
    if vote.person_id == CUSTOMER:
        return vote.confirms is not None and may_confirm(vote.confirms, request) is None
    person = people.get(vote.person_id)
    if person is None or vote.confirms is not None:
        return False
    return may_sign(person, request, at=vote.at, word=vote.word) is None


def may_confirm(who: Confirmer, request: ApprovalRequest) -> Reason | None:
    """Return why a customer's word does not count for this, or None if it does.

    Their no takes the same level: whoever is not known well enough is not them.
    """
    asked = request.confirmer
    if asked is None:
        return Reason("customer_not_asked", "the customer is not asked to confirm this")
    if (who.interaction_id, who.channel_id) != (asked.interaction_id, asked.channel_id):
        return Reason("other_interaction", "it was asked in another interaction")
    if not asked.customer_id or who.customer_id != asked.customer_id:
        return Reason("other_customer", "it is another customer's")
    if who.level < asked.level:
        text = f"the customer must be known at level {asked.level} to confirm this"
        return Reason("verification_level", text)
    return None


def _within(amount: Money | None, standing: StandingApproval) -> bool:
    # Its caps are amounts: what moves none would be signed for without end.
    if amount is None:
        return False
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
