"""Stage 7, record: build the entry that says what was asked, decided, sent and done.

Source: DESIGN, chapters 6 (frozen envelope) and 7 (Audit); docs/adr/0007.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from broker.core.words.decision import word_of
from broker.core.words.entry import ENTRY_SCHEMA, AuditEntry, PayloadRef
from broker.core.words.labels import Grade
from broker.core.words.subject import SubjectKind

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from broker.core.words.action import ActionRequest, Bound
    from broker.core.words.decision import Decision, Verdict
    from broker.core.words.subject import Caller, Interaction
    from broker.core.words.tool import Tool
    from broker.core.words.warrant import Receipt

CONTEXT_FIELDS: Final = (
    "use_case",
    "agent",
    "instance",
    "kid",
    "grant",
    "proof_of_possession",
    "interaction",
    "customer_ref",
    "channel",
    "topics",
    "locale",
    "purpose",
    "consent_version",
    "verification_level",
    "ai_disclosed_at",
    "release",
)
ACTION_FIELDS: Final = (
    "action_id",
    "action_kind",
    "tool",
    "manifest",
    "effect",
    "tier",
    "arguments_hmac",
    "amount_minor_units",
    "currency",
    "parent_action",
    "reversal_of",
    "disposition",
)
# Said by the channel under its own signature; the broker did not see it itself.
_ATTESTED: Final = frozenset(
    {
        "customer_ref",
        "channel",
        "topics",
        "locale",
        "consent_version",
        "verification_level",
        "ai_disclosed_at",
    }
)

_WORD_CHARS: Final = 100


def timestamp(at: datetime) -> str:
    """Return RFC 3339 in UTC with microseconds and a Z.

    Raises:
        ValueError: the time is naive.
    """
    if at.tzinfo is None or at.utcoffset() is None:
        msg = "a time without a zone cannot be recorded"
        raise ValueError(msg)
    utc = at - (at.utcoffset() or (at - at))
    return utc.replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def envelope(entry: AuditEntry) -> dict[str, Any]:
    """Return the entry as JSON with every field of the schema present."""
    context = {name: entry.context.get(name) for name in CONTEXT_FIELDS}
    action = {name: entry.action.get(name) for name in ACTION_FIELDS}
    unknown = (set(entry.context) - set(context)) | (set(entry.action) - set(action))
    if unknown:
        msg = f"not in the envelope: {', '.join(sorted(unknown))}"
        raise ValueError(msg)
    return {
        "schema": ENTRY_SCHEMA,
        "entry_id": entry.entry_id,
        "kind": entry.kind.value,
        "stage": entry.kind.value.partition(".")[0],
        "at": timestamp(entry.at),
        "tenant": entry.tenant,
        "environment": entry.environment,
        "context": context,
        "grades": {name: _grade(name, value) for name, value in context.items()},
        "action": action,
        "detail": dict(entry.detail),
        "payloads": [_payload(ref) for ref in entry.payloads],
        "replica": entry.replica,
    }


def context_of(
    caller: Caller | None, interaction: Interaction | None
) -> dict[str, Any]:
    """Return the context fields that caller and interaction give."""
    fields: dict[str, Any] = {}
    if caller is not None:
        fields |= {
            "agent": caller.subject_id if caller.kind is SubjectKind.AGENT else None,
            "instance": caller.instance_id or None,
            "kid": caller.kid,
            "grant": caller.grant_id,
            "proof_of_possession": caller.proof_of_possession,
        }
    if interaction is not None:
        disclosed = interaction.ai_disclosed_at
        fields |= {
            "use_case": interaction.use_case,
            "agent": interaction.agent_id,
            "interaction": interaction.interaction_id,
            "customer_ref": interaction.customer_ref or None,
            "channel": interaction.channel,
            "topics": list(interaction.topics),
            "locale": interaction.locale,
            "purpose": interaction.purpose,
            "consent_version": interaction.consent_version or None,
            "verification_level": int(interaction.verification),
            "ai_disclosed_at": timestamp(disclosed) if disclosed else None,
            "release": interaction.release or None,
        }
    return fields


def ordered_by(person_id: str) -> dict[str, str]:
    """Return what an entry says of the person who ordered it; nothing for an agent."""
    return {"ordered_by": f"person:{person_id}"} if person_id else {}


def action_of(
    request: ActionRequest, *, tool: Tool, bound: Bound, arguments_hmac: str
) -> dict[str, Any]:
    """Return the action fields; arguments appear only as a keyed hash.

    A plain hash of an e-mail address or an amount could be guessed, so the HMAC's key
    is derived from the data key and ends with it.
    """
    return {
        "action_id": request.action_id,
        "action_kind": request.kind.value,
        "tool": tool.name,
        "manifest": tool.digest,
        "effect": tool.effect.value,
        "tier": int(tool.tier),
        "arguments_hmac": arguments_hmac,
        "amount_minor_units": bound.amount.minor_units if bound.amount else None,
        "currency": bound.amount.currency if bound.amount else None,
        "parent_action": request.parent_action or None,
        "reversal_of": request.reversal_of or None,
        "disposition": request.disposition or None,
    }


def decision_detail(
    decision: Decision,
    *,
    verdict: Verdict,
    policy_version: int,
    more: Mapping[str, Any],
) -> dict[str, Any]:
    """Return what a decision entry says beside the request itself.

    Reasons and findings appear as codes, rules and argument names; their texts may
    quote sources and stay in the payload.
    """
    return {
        "decision": word_of(decision),
        "reasons": [
            {"code": r.code, "rule": r.rule, "clause": r.clause}
            for r in decision.reasons
        ],
        "verdict": verdict.word.value,
        "findings": [
            {"kind": f.kind.value, "code": f.code, "argument": f.pointer}
            for f in verdict.findings
        ],
        "policy_version": policy_version,
        **more,
    }


def _grade(name: str, value: object) -> str:
    if value is None:
        return Grade.ABSENT.value
    return (Grade.ATTESTED if name in _ATTESTED else Grade.OBSERVED).value


def _payload(ref: PayloadRef) -> dict[str, str]:
    return {
        "payload_id": ref.payload_id,
        "subject": ref.subject,
        "purpose": ref.purpose,
        "retention": ref.retention,
        "data_class": ref.data_class,
        "sha256": ref.sha256,
    }


def sent_upstream(receipt: Receipt | None) -> list[dict[str, str | int]]:
    """Return what an entry says of each request that the edge sent, in order.

    The hash of an answer stays in the receipt, which is sealed: of a short answer it
    would give the content away.
    """
    if receipt is None:
        return []
    return [
        {
            "seq": seq,
            "rule": _word(said.get("id")),
            "method": _word(said.get("method")),
            "status": _count(said.get("status")),
            "bytes": _count(said.get("bytes")),
            "ms": _count(said.get("ms")),
            "address": _word(said.get("address")),
        }
        for seq, said in enumerate(receipt.requests, start=1)
    ]


def _word(value: object) -> str:
    return value[:_WORD_CHARS] if isinstance(value, str) else ""


def _count(value: object) -> int:
    return value if type(value) is int else 0
