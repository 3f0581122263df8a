"""What flow.py leaves behind: entries, sealed payloads and the rows they belong to.

Everything here builds values and hands them to the store, which makes each set durable
in one transaction with its log entries. Nothing here decides.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from broker.case import STANDING_RULE, dedupe_key
from broker.core import approve, record
from broker.core.identity.chain import delegation_of
from broker.core.sealed import action as stored
from broker.core.words.action import (
    ActionRecord,
    ActionState,
    Outcome,
    OutcomeWord,
)
from broker.core.words.approval import ApprovalRequest, ApprovalState
from broker.core.words.decision import Deny, Escalate, Permit, word_of
from broker.core.words.entry import AuditEntry, EntryKind
from broker.core.words.errors import UnavailableError
from broker.core.words.moment import write_moment
from broker.deciding import made_from
from broker.ports import NewAction, PayloadDraft, Sealed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from broker.case import Ask, Case
    from broker.core.words.budget import Line, RateAnswer
    from broker.core.words.decision import Decision, Reason, Verdict
    from broker.core.words.subject import Interaction
    from broker.ports import Claim, NoRoom, Ports, Stored

PURPOSE_REQUEST = "action"
_STATES = {
    Permit: ActionState.EXECUTING,
    Escalate: ActionState.PENDING_APPROVAL,
    Deny: ActionState.REFUSED,
}


async def keep_decision(
    ports: Ports,
    case: Case,
    decision: Decision,
    verdict: Verdict,
    rate: RateAnswer | None,
) -> Stored:
    """Store the decided action, hold its money and log the decision, or nothing."""
    approval = _approval(ports, case, decision)
    new_record = _record(ports, case, decision, verdict, approval)
    payload = await seal(ports, case, stored.to_payload(new_record), "request")
    dedupe, fingerprint = dedupe_key(case)
    denied = isinstance(decision, Deny)
    lines = () if denied else _lines(case, decision)
    detail = record.decision_detail(
        decision,
        verdict=verdict,
        policy_version=case.view.policy.book.version,
        more={
            "standing_approval": new_record.standing_approval or None,
            "approval": approval.approval_id if approval else None,
            "approval_digest": approval.digest if approval else None,
            "quorum": approval.quorum.approvers_min if approval else None,
            "reserved": reserved(lines),
            "rates_counted_by": rate.counted_by.value if rate else None,
            "warrant": new_record.warrant_id or None,
        },
    )
    entry = await entry_of(ports, case, EntryKind.DECISION, detail, (payload,))
    return await ports.store.submit(
        NewAction(
            record=new_record,
            dedupe="" if denied else dedupe,
            fingerprint=fingerprint,
            payload=payload,
            lines=lines,
            approval=approval,
            entries=(entry,),
            claimed_by=ports.replica if isinstance(decision, Permit) else "",
        )
    )


async def keep_refusal(ports: Ports, ask: Ask, reason: Reason) -> None:
    """Log that a caller was turned away before there was a case, within a rate.

    No rate of the policy is charged yet: what a valid token alone can cause without end
    is written down so often, and then counted.
    """
    bucket = ports.refusals.of(ask.caller.subject_id)
    held_back = bucket.admit(ports.clock.now())
    if held_back is None:
        return
    entry = AuditEntry(
        entry_id=ports.ids.new(),
        kind=EntryKind.REFUSED,
        at=ports.clock.now(),
        tenant=ask.caller.tenant,
        environment=ask.caller.environment,
        context=record.context_of(ask.caller, None),
        action={"tool": ask.tool if ports.shelf.tool(ask.tool) else None},
        detail={"reasons": [{"code": reason.code}], "held_back": held_back}
        | record.ordered_by(ask.undo.person_id if ask.undo else "")
        | delegation_of(ask.caller),
        replica=ports.replica,
    )
    try:
        await ports.journal.record(entry)
    except UnavailableError:
        # What could not be written is counted with the next one.
        bucket.held_back += held_back + 1
        raise


async def keep_claim(ports: Ports, case: Case) -> Claim | NoRoom | None:
    """Claim an approved action, log the intent, and reserve in the windows of now."""
    warrant_id = ports.ids.new()
    lines = tuple(line for line in case.lines if not line.of_reading)
    detail = {
        "warrant": warrant_id,
        "policy_version": case.view.policy.book.version,
        "reserved": reserved(lines),
    }
    return await ports.store.claim(
        case.request.action_id,
        replica=ports.replica,
        warrant_id=warrant_id,
        lines=lines,
        entry=await entry_of(ports, case, EntryKind.CLAIM, detail, ()),
    )


def reserved(lines: tuple[Line, ...]) -> list[dict[str, str | int]]:
    """Return what an entry says was taken, so that budgets can be compared with it."""
    return [
        {
            "rule": line.rule_id,
            "amount": line.amount,
            "unit": line.unit,
            "budget": line.budget_id,
            "window": line.window.value,
            "since": write_moment(line.window_start),
        }
        for line in lines
    ]


async def keep_unexecuted(  # noqa: PLR0913  (what there is to keep)
    ports: Ports,
    action: ActionRecord,
    reason: Reason,
    state: ActionState,
    *,
    claim: Claim | None = None,
    more: Mapping[str, Any] | None = None,
) -> bool:
    """End an action that was not executed: nothing was sent, what it held is void.

    Args:
        ports: The ports.
        action: The action.
        reason: Why it ends.
        state: How.
        claim: The claim under which nothing was sent, if there is one. Whoever has
            none ends nothing that anybody is executing.
        more: What policy said, if that is why.

    Returns:
        Whether it ended so; if not, somebody else was faster.
    """
    detail = {
        "outcome": state.value,
        "code": reason.code,
        "sent": False,
        **(more or {}),
    }
    entry = entry_about(ports, action, EntryKind.OUTCOME, detail)
    return await ports.store.refuse(
        action.request.action_id,
        claim=claim,
        state=state,
        code=reason.code,
        entry=entry,
    )


def entry_about(
    ports: Ports,
    action: ActionRecord,
    kind: EntryKind,
    detail: Mapping[str, Any],
    *,
    payloads: tuple[Sealed, ...] = (),
) -> AuditEntry:
    """Return an entry about a stored action, whatever became of its case."""
    return AuditEntry(
        entry_id=ports.ids.new(),
        kind=kind,
        at=ports.clock.now(),
        tenant=action.tenant,
        environment=action.environment,
        context={
            "agent": action.requester.agent_id,
            "interaction": action.request.interaction_id,
            "customer_ref": action.customer_ref or None,
        },
        action={"action_id": action.request.action_id, "tool": action.request.tool},
        detail=dict(detail)
        | record.ordered_by(action.request.asked_by)
        | delegation_of(action.requester),
        payloads=tuple(sealed.ref for sealed in payloads),
        replica=ports.replica,
    )


def _approval(ports: Ports, case: Case, decision: Decision) -> ApprovalRequest | None:
    if not isinstance(decision, Escalate):
        return None
    assert case.view.agent is not None  # noqa: S101  (established saw it)
    # The same values as approve.asked_of gives from the sealed record.
    asked_at = case.request.asked_at
    return ApprovalRequest(
        approval_id=ports.ids.new(),
        action_id=case.request.action_id,
        digest=approve.action_digest(
            case.request,
            tool=case.tool,
            bound=case.bound,
            customer_ref=case.interaction.customer_ref,
            asked=decision,
        ),
        quorum=decision.quorum,
        amount=case.bound.amount,
        barred=approve.barred(
            owner=case.view.agent.owner,
            requester=case.requester,
            author=case.view.policy.author,
        ),
        state=ApprovalState.PENDING,
        created_at=asked_at,
        expires_at=asked_at + timedelta(seconds=decision.quorum.expires_s),
        confirmer=approve.confirmer(decision.quorum, case.interaction),
    )


def _record(
    ports: Ports,
    case: Case,
    decision: Decision,
    verdict: Verdict,
    approval: ApprovalRequest | None,
) -> ActionRecord:
    standing = decision.standing_approval if isinstance(decision, Permit) else ""
    state = _STATES[type(decision)]
    outcome = None
    if isinstance(decision, Deny):
        code = decision.reasons[0].code
        outcome = Outcome(OutcomeWord.REFUSED, code, "", sent=False)
    return ActionRecord(
        request=case.request,
        requester=case.requester,
        tenant=case.interaction.tenant,
        environment=case.interaction.environment,
        customer_ref=case.interaction.customer_ref,
        state=state,
        decision=word_of(decision),
        reasons=decision.reasons,
        findings=tuple((f.code, f.pointer, f.text) for f in verdict.findings),
        asked=decision if isinstance(decision, Escalate) else None,
        policy_version=case.view.policy.book.version,
        manifest=case.tool.digest,
        standing_approval=standing,
        approval_id=approval.approval_id if approval else "",
        digest=approval.digest if approval else "",
        warrant_id=ports.ids.new() if isinstance(decision, Permit) else "",
        idempotency_key=ports.ids.new(),
        outcome=outcome,
        created_at=case.request.asked_at,
        expires_at=approval.expires_at if approval else None,
        decided=made_from(case, verdict),
        policy_author=case.view.policy.author,
        scene=case.scene,
    )


def _lines(case: Case, decision: Decision) -> tuple[Line, ...]:
    """Return what is held; a standing approval is only consumed when it is used."""
    if isinstance(decision, Permit):
        return case.lines
    return tuple(line for line in case.lines if line.rule_id != STANDING_RULE)


def _subject(interaction: Interaction) -> str:
    return interaction.customer_ref or interaction.interaction_id


async def seal(
    ports: Ports, case: Case, value: Mapping[str, Any], data_class: str
) -> Sealed:
    """Encrypt what belongs to an action under the key of its customer."""
    draft = PayloadDraft(
        payload_id=ports.ids.new(),
        subject=_subject(case.interaction),
        purpose=PURPOSE_REQUEST,
        retention="action",
        data_class=data_class,
    )
    return await ports.vault.seal(value, draft)


async def entry_of(
    ports: Ports,
    case: Case,
    kind: EntryKind,
    detail: Mapping[str, Any],
    payloads: tuple[Sealed, ...],
) -> AuditEntry:
    """Return an entry about an action, in the context of its interaction."""
    arguments = await ports.vault.keyed_hash(
        dict(case.request.arguments),
        subject=_subject(case.interaction),
        purpose=PURPOSE_REQUEST,
    )
    who = case.requester
    context = record.context_of(case.caller, case.interaction) | {
        "agent": who.agent_id,
        "instance": who.instance_id or None,
        "kid": who.kid,
        "grant": who.grant_id,
        "proof_of_possession": who.proof_of_possession,
    }
    return AuditEntry(
        entry_id=ports.ids.new(),
        kind=kind,
        at=ports.clock.now(),
        tenant=case.interaction.tenant,
        environment=case.interaction.environment,
        context=context,
        action=record.action_of(
            case.request, tool=case.tool, bound=case.bound, arguments_hmac=arguments
        ),
        detail={
            **detail,
            **record.ordered_by(case.request.asked_by),
            **delegation_of(who),
        },
        payloads=tuple(sealed.ref for sealed in payloads),
        replica=ports.replica,
    )
