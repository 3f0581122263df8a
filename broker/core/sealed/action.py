"""The sealed half of a stored action: what must not stand in clear in a table.

``to_payload`` and ``from_payload`` are inverse; a test shows it on random records. The
clear half (state, tool, times, ids) are columns and arrive as ``Columns``.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from broker.core.words.action import (
    ActionKind,
    ActionRecord,
    ActionRequest,
    ActionState,
    Outcome,
    OutcomeWord,
    Requester,
)
from broker.core.words.decision import Escalate, Quorum, Reason, Rung

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Columns:
    """What stands in clear beside the sealed half."""

    action_id: str
    tenant: str
    environment: str
    interaction_id: str
    customer_ref: str
    tool: str
    manifest: str
    state: str
    decision: str
    policy_version: int
    standing_approval: str
    approval_id: str
    digest: str
    warrant_id: str
    idempotency_key: str
    created_at: datetime
    expires_at: datetime | None
    tries: int = 0


def to_payload(record: ActionRecord) -> dict[str, Any]:
    """Return the sealed half of a record as JSON."""
    request, requester = record.request, record.requester
    again = record.asked_again_at
    return {
        "action_id": request.action_id,
        "arguments": dict(request.arguments),
        "arguments_digest": request.arguments_digest,
        "reason": request.reason,
        "citations": list(request.citations),
        "caller_key": request.idempotency_key,
        "asked_at": request.asked_at.isoformat(),
        "kind": request.kind.value,
        "parent_action": request.parent_action,
        "reversal_of": request.reversal_of,
        "disposition": request.disposition,
        "asked_by": request.asked_by,
        "requester": {
            "agent_id": requester.agent_id,
            "instance_id": requester.instance_id,
            "kid": requester.kid,
            "grant_id": requester.grant_id,
            "proof": requester.proof_of_possession,
            "epochs": [list(pair) for pair in requester.epochs],
            "principal": requester.principal,
            "actors": list(requester.actors),
            "barred": list(requester.barred),
            "counts": [list(pair) for pair in requester.counts],
        },
        "reasons": [_reason(r) for r in record.reasons],
        "findings": [list(finding) for finding in record.findings],
        "asked": _asked(record.asked),
        "asked_again_at": again.isoformat() if again else None,
        "policy_author": record.policy_author,
        "decided": dict(record.decided) if record.decided is not None else None,
        "simulated": record.simulated,
        "scene": dict(record.scene) if record.scene is not None else None,
    }


def from_payload(
    columns: Columns, sealed: Mapping[str, Any], outcome: Outcome | None
) -> ActionRecord:
    """Put the two halves together.

    Raises:
        ValueError: the sealed half belongs to another action.
    """
    if sealed["action_id"] != columns.action_id:
        msg = "the sealed half belongs to another action"
        raise ValueError(msg)
    again = sealed["asked_again_at"]
    return ActionRecord(
        request=ActionRequest(
            action_id=columns.action_id,
            tool=columns.tool,
            arguments=sealed["arguments"],
            arguments_digest=sealed["arguments_digest"],
            interaction_id=columns.interaction_id,
            reason=sealed["reason"],
            citations=tuple(sealed["citations"]),
            idempotency_key=sealed["caller_key"],
            asked_at=datetime.fromisoformat(sealed["asked_at"]),
            kind=ActionKind(sealed["kind"]),
            parent_action=sealed["parent_action"],
            reversal_of=sealed["reversal_of"],
            disposition=sealed["disposition"],
            asked_by=sealed["asked_by"],
        ),
        requester=_requester(sealed["requester"]),
        tenant=columns.tenant,
        environment=columns.environment,
        customer_ref=columns.customer_ref,
        state=ActionState(columns.state),
        decision=columns.decision,
        reasons=tuple(Reason(**r) for r in sealed["reasons"]),
        findings=tuple((c, p, t) for c, p, t in sealed["findings"]),
        asked=_asked_from(sealed["asked"]),
        policy_version=columns.policy_version,
        manifest=columns.manifest,
        standing_approval=columns.standing_approval,
        approval_id=columns.approval_id,
        digest=columns.digest,
        warrant_id=columns.warrant_id,
        idempotency_key=columns.idempotency_key,
        outcome=outcome,
        created_at=columns.created_at,
        expires_at=columns.expires_at,
        tries=columns.tries,
        decided=sealed["decided"],
        asked_again_at=datetime.fromisoformat(again) if again else None,
        policy_author=sealed["policy_author"],
        simulated=sealed["simulated"],
        scene=sealed["scene"],
    )


def _requester(who: Mapping[str, Any]) -> Requester:
    return Requester(
        agent_id=who["agent_id"],
        instance_id=who["instance_id"],
        kid=who["kid"],
        grant_id=who["grant_id"],
        proof_of_possession=who["proof"],
        epochs=tuple((scope, epoch) for scope, epoch in who["epochs"]),
        principal=who["principal"],
        actors=tuple(who["actors"]),
        barred=tuple(who["barred"]),
        counts=tuple((name, most) for name, most in who["counts"]),
    )


def outcome_payload(outcome: Outcome, receipt: str) -> dict[str, Any]:
    """Return an outcome with the receipt that it follows from, as JSON."""
    return {
        "word": outcome.word.value,
        "code": outcome.code,
        "detail": outcome.detail,
        "sent": outcome.sent,
        "result": dict(outcome.result) if outcome.result is not None else None,
        "receipt": receipt,
    }


def outcome_from(sealed: Mapping[str, Any]) -> Outcome:
    """Read an outcome back."""
    return Outcome(
        word=OutcomeWord(sealed["word"]),
        code=sealed["code"],
        detail=sealed["detail"],
        sent=sealed["sent"],
        result=sealed["result"],
        receipt=sealed["receipt"],
    )


def bare_outcome(state: str, code: str) -> Outcome | None:
    """Return the outcome of an action that ended without being executed."""
    words = {"refused": OutcomeWord.REFUSED, "failed": OutcomeWord.FAILED}
    word = words.get(state)
    return Outcome(word, code, "", sent=False) if word else None


def _reason(reason: Reason) -> dict[str, str]:
    return {
        "code": reason.code,
        "text": reason.text,
        "rule": reason.rule,
        "clause": reason.clause,
    }


def _asked(asked: Escalate | None) -> dict[str, Any] | None:
    if asked is None:
        return None
    return {
        "reasons": [_reason(r) for r in asked.reasons],
        "approvers_min": asked.quorum.approvers_min,
        "role": asked.quorum.role,
        "expires_s": asked.quorum.expires_s,
        "remind_s": asked.quorum.remind_s,
        "ladder": [[rung.role, rung.after_s] for rung in asked.quorum.ladder],
        "customer": asked.quorum.customer,
    }


def _asked_from(sealed: Mapping[str, Any] | None) -> Escalate | None:
    if sealed is None:
        return None
    return Escalate(
        reasons=tuple(Reason(**r) for r in sealed["reasons"]),
        quorum=Quorum(
            approvers_min=sealed["approvers_min"],
            role=sealed["role"],
            expires_s=sealed["expires_s"],
            remind_s=sealed["remind_s"],
            ladder=tuple(Rung(role, after_s) for role, after_s in sealed["ladder"]),
            customer=sealed["customer"],
        ),
    )
