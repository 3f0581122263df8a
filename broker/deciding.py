"""Stages 2 and 4, as everybody runs them who decides.

The flow decides a new action and, before it is sent, the same one again; a policy that
is published decides what waits. All of them ask the same two questions here.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, assert_never

from broker import case as cases
from broker.core import approve, authorize, guard
from broker.core.identity import chain
from broker.core.sealed import decided
from broker.core.words.decision import Decision, Deny, Verdict, VerdictWord

if TYPE_CHECKING:
    from datetime import datetime

    from broker.case import Case
    from broker.core.words.action import ActionRecord
    from broker.core.words.approval import ApprovalRequest
    from broker.ports import Ports

CLEAN = Verdict(VerdictWord.CLEAN)


async def authorized(ports: Ports, case: Case) -> tuple[Case, Decision]:
    """Stage 2: ask the policy; a standing approval counts only while it has room.

    The case that is returned holds the question, so that it can be recorded.
    """
    case = await cases.with_totals(ports, case)
    case = replace(case, put=question(case, now=ports.clock.now()))
    assert case.put is not None  # noqa: S101  (it was just put)
    return case, authorize.decide(case.put, case.view.policy.book)


def asked(case: Case, record: ActionRecord) -> ApprovalRequest | None:
    """Return what people are asked to sign for a stored action, None if nobody is."""
    if case.view.agent is None:
        return None
    return approve.asked_of(
        record,
        tool=case.tool,
        bound=case.bound,
        owner=case.view.agent.owner,
        interaction=case.interaction,
    )


def question(case: Case, *, now: datetime) -> authorize.Question:
    """Return what the policy is asked."""
    assert case.view.agent is not None  # noqa: S101  (established and reopened saw it)
    amount = case.bound.amount
    return authorize.Question(
        agent=case.view.agent,
        tool=case.tool.name,
        connector=case.tool.connector,
        effect=case.tool.effect.value,
        tier=int(case.tool.tier),
        amount_minor_units=amount.minor_units if amount else 0,
        currency=amount.currency if amount else "",
        channel=case.interaction.channel,
        topics=case.interaction.topics,
        customer_flags=case.interaction.customer_flags,
        locale=case.interaction.locale,
        verification=int(case.interaction.verification),
        customer_bound=case.interaction.bound,
        proof=case.requester.proof_of_possession,
        standing=case.standing is not None,
        findings=(),
        release=case.interaction.release,
        hour=now.hour,
        weekday=now.isoweekday(),
        totals=case.totals or {},
        chain=case.view.chain,
        on_behalf_of=chain.behalf_of(case.requester.principal),
    )


async def guarded(
    ports: Ports, case: Case, decision: Decision
) -> tuple[Decision, Verdict]:
    """Stage 4: look at the arguments; what is found is put to the policy as well."""
    if isinstance(decision, Deny) or case.put is None:
        return decision, CLEAN
    verdict = guard.inspect(await inspection(ports, case), guard.CHAIN)
    match verdict.word:
        case VerdictWord.CLEAN:
            return decision, verdict
        case VerdictWord.BLOCK:
            return Deny(verdict.reasons()), verdict
        case VerdictWord.HOLD:
            # What was signed in advance did not mean this: the policy is asked what it
            # wants when nobody has signed yet.
            codes = tuple(sorted({finding.code for finding in verdict.findings}))
            question = replace(case.put, findings=codes, standing=False)
            book = case.view.policy.book
            again = authorize.decide(question, book)
            return authorize.hold(again, verdict.reasons(), book), verdict
        case _:
            assert_never(verdict.word)


def made_from(case: Case, verdict: Verdict) -> dict[str, Any] | None:
    """Return what a decision is made from, so that a replay can make it again."""
    if case.put is None:
        return None
    held = verdict.word is VerdictWord.HOLD
    made = decided.Decided(
        question=case.put,
        verdict=verdict.word,
        findings=tuple(sorted({f.code for f in verdict.findings})) if held else (),
        taken=decided.taken_of(case.lines),
        policy_version=case.view.policy.book.version,
    )
    return decided.to_json(made)


async def inspection(ports: Ports, case: Case) -> guard.Inspection:
    """Gather where the arguments' values were seen before in this interaction."""
    binding = case.tool.binding
    pointers = {o.pointer for o in binding.objects}
    pointers |= {p.pointer for p in binding.provenance}
    values = {
        pointer: value
        for named in sorted(pointers)
        for pointer, value in guard.values_at(case.request.arguments, named)
    }
    seen = await ports.handles.origins(case.interaction, values) if values else {}
    shown = frozenset(
        (one.kind, str(values[pointer]))
        for pointer, places in seen.items()
        for one in places
        if one.kind
    )
    origins = {
        pointer: tuple(guard.Origin(one.integrity, one.source) for one in places)
        for pointer, places in seen.items()
    }
    return guard.Inspection(
        tool=case.tool,
        arguments=case.request.arguments,
        bound=case.bound,
        customer_bound=case.interaction.bound,
        shown=shown,
        origins=origins,
    )
