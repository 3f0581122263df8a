"""Rows and values: how the flow's values look in SQL, and back."""

from __future__ import annotations

from base64 import b64encode
from math import ceil
from typing import TYPE_CHECKING, Any, TypeAlias

from broker.core.approvals.timetable import next_at
from broker.core.sealed.action import Columns
from broker.core.words.approval import ApprovalRequest, ApprovalState
from broker.core.words.decision import Quorum
from broker.core.words.money import Money
from broker.effects.executor import RUN_GRACE_S
from broker.effects.runner.line import CONNECT_S_MAX, PLACE_S_MAX
from broker.ports import PayloadDraft
from broker.registry.tools import TIMEOUT_S_MAX

if TYPE_CHECKING:
    from collections.abc import Mapping

    import asyncpg

    from broker.core.words.subject import Interaction
    from broker.core.words.tool import Tool
    from broker.ports import NewAction, NewTurn, Sealed

ASKING_LEASE_S = 20
"""How long a claim that was taken over lasts, while the edge is asked about it."""
LEASE_SLACK_S = 10
"""What is left for deciding again before a call, and for its outcome after it."""
Row: TypeAlias = "Mapping[str, Any] | asyncpg.Record"


def lease_s(tool: Tool | None) -> int:
    """Return how long a claim lasts: longer than its call may, so that nobody cuts in.

    Nothing renews it; to take it over while the edge works would cut its call off.
    """
    longest_s = tool.timeout_s if tool else TIMEOUT_S_MAX
    return longest_s + ceil(PLACE_S_MAX + CONNECT_S_MAX + RUN_GRACE_S) + LEASE_SLACK_S


def payload_json(sealed: Sealed) -> dict[str, Any]:
    """Return a payload as action_submit takes it."""
    ref = sealed.ref
    return {
        "payload_id": ref.payload_id,
        "subject": ref.subject,
        "purpose": ref.purpose,
        "retention": ref.retention,
        "data_class": ref.data_class,
        "sha256": ref.sha256,
        "sealed": b64encode(sealed.data).decode(),
    }


def ceiling_json(ref: str, sealed: bytes) -> dict[str, str]:
    """Return what bounds an object as action_finish takes it."""
    return {"ref": ref, "sealed": b64encode(sealed).decode()}


def action_json(new: NewAction, *, tool: Tool, where: Interaction) -> dict[str, Any]:
    """Return the clear half of a new action."""
    record, request = new.record, new.record.request
    amount = next((line for line in new.lines if line.kind == "amount"), None)
    return {
        "action_id": request.action_id,
        "tenant": record.tenant,
        "environment": record.environment,
        "use_case": where.use_case,
        "agent_id": record.requester.agent_id,
        "instance_id": record.requester.instance_id,
        "grant_id": record.requester.grant_id,
        "epochs": dict(record.requester.epochs),
        "interaction_id": request.interaction_id,
        "customer_ref": record.customer_ref,
        "release": where.release,
        "kind": request.kind.value,
        "parent_action": request.parent_action or None,
        "reversal_of": request.reversal_of or None,
        "disposition": request.disposition,
        "tool": request.tool,
        "manifest": record.manifest,
        "effect": tool.effect.value,
        "tier": int(tool.tier),
        "state": record.state.value,
        "decision": record.decision,
        "code": record.outcome.code if record.outcome else "",
        "policy_version": record.policy_version,
        "standing_approval": record.standing_approval,
        "approval_id": record.approval_id or None,
        "digest": record.digest,
        "amount": amount.amount if amount else None,
        "currency": amount.unit if amount else None,
        "dedupe": new.dedupe or None,
        "fingerprint": new.fingerprint,
        "idempotency_key": record.idempotency_key,
        "warrant_id": record.warrant_id or None,
        "lease_replica": new.claimed_by or None,
        "lease_s": lease_s(tool) if new.claimed_by else None,
        "request_payload": new.payload.ref.payload_id,
        "created_at": record.created_at.isoformat(),
        "expires_at": record.expires_at.isoformat() if record.expires_at else None,
    }


def interaction_json(interaction: Interaction, payload: Sealed) -> dict[str, Any]:
    """Return the clear half of a new interaction."""
    closed = interaction.closed_at
    return {
        "interaction_id": interaction.interaction_id,
        "tenant": interaction.tenant,
        "environment": interaction.environment,
        "use_case": interaction.use_case,
        "agent_id": interaction.agent_id,
        "channel_id": interaction.channel_id,
        "customer_ref": interaction.customer_ref,
        "verification": int(interaction.verification),
        "release": interaction.release,
        "payload_id": payload.ref.payload_id,
        "opened_at": interaction.opened_at.isoformat(),
        "closed_at": closed.isoformat() if closed else None,
    }


def turn_json(turn: NewTurn) -> dict[str, Any]:
    """Return the clear half of a turn."""
    return {
        "turn_id": turn.turn_id,
        "interaction_id": turn.interaction.interaction_id,
        "speaker": turn.speaker,
        "verification": int(turn.interaction.verification),
        "payload_id": turn.payload.ref.payload_id,
        "at": turn.at.isoformat(),
    }


def approval_json(approval: ApprovalRequest) -> dict[str, Any]:
    """Return an approval request as action_submit takes it."""
    amount, since = approval.amount, approval.created_at
    return {
        "approval_id": approval.approval_id,
        "digest": approval.digest,
        "approvers_min": approval.quorum.approvers_min,
        "role": approval.quorum.role,
        "barred": sorted(approval.barred),
        "amount": amount.minor_units if amount else None,
        "currency": amount.currency if amount else None,
        "created_at": approval.created_at.isoformat(),
        "expires_at": approval.expires_at.isoformat(),
        "next_at": next_at(approval.quorum, since=since, now=since).isoformat(),
    }


def approval_from(row: Row) -> ApprovalRequest:
    """Read an approval request."""
    amount = row["amount"]
    return ApprovalRequest(
        approval_id=str(row["approval_id"]),
        action_id=str(row["action_id"]),
        digest=row["digest"],
        quorum=Quorum(
            approvers_min=row["approvers_min"],
            role=row["role"],
            expires_s=int((row["expires_at"] - row["created_at"]).total_seconds()),
        ),
        amount=Money(amount, row["currency"]) if amount is not None else None,
        barred=frozenset(row["barred"]),
        state=ApprovalState(row["state"]),
        created_at=row["created_at"],
        expires_at=row["expires_at"],
    )


def columns_from(row: asyncpg.Record) -> Columns:
    """Read the clear half of an action."""
    return Columns(
        action_id=str(row["action_id"]),
        tenant=row["tenant"],
        environment=row["environment"],
        interaction_id=str(row["interaction_id"]),
        customer_ref=row["customer_ref"],
        tool=row["tool"],
        manifest=row["manifest"],
        state=row["state"],
        decision=row["decision"],
        policy_version=row["policy_version"],
        standing_approval=row["standing_approval"],
        approval_id=str(row["approval_id"] or ""),
        digest=row["digest"],
        warrant_id=str(row["warrant_id"] or ""),
        idempotency_key=row["idempotency_key"],
        created_at=row["created_at"],
        expires_at=row["expires_at"],
        tries=row["tries"],
    )


def draft_from(row: Row, prefix: str = "") -> PayloadDraft:
    """Read whose payload a row refers to."""
    return PayloadDraft(
        payload_id=str(row[f"{prefix}payload_id"]),
        subject=row[f"{prefix}subject"],
        purpose=row[f"{prefix}purpose"],
        retention=row[f"{prefix}retention"],
        data_class=row[f"{prefix}data_class"],
    )
