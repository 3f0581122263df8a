"""Actions on the wire: one shape for REST and MCP, from the stored record alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from broker.core.words.action import ENDED, ActionState, wire_state

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from broker.core.words.action import ActionRecord

RETRY_AFTER_PENDING_S = 15
RETRY_AFTER_EXECUTING_S = 1
NEXT_PENDING = (
    "A person must approve this. Call get_action with this action_id; "
    "do not repeat this call."
)
NEXT_ASKED = (
    "A person wants to know something before they decide: see questions. Answer each "
    "with answer_question (POST /v1/actions/{action_id}/answers), from what you know; "
    "your answer is shown to them as a model's. Then call get_action again."
)
NEXT_EXECUTING = (
    "It is being executed. Call get_action with this action_id; "
    "do not repeat this call."
)
NEXT_UNKNOWN = (
    "Nobody knows yet whether it happened; people were alarmed. Do not repeat this "
    "call, and do not tell the customer that it happened or that it failed."
)


def action_json(
    record: ActionRecord,
    *,
    note: str = "",
    questions: Sequence[Mapping[str, Any]] = (),
) -> dict[str, Any]:
    """Return what an agent may see of its action.

    Args:
        record: The stored action.
        note: Words from a person for the agent, such as why an approver refused.
        questions: What people want to know of the agent before they decide.
    """
    body: dict[str, Any] = {
        "status": wire_state(record.state),
        "action_id": record.request.action_id,
        "tool": record.request.tool,
        "interaction": record.request.interaction_id,
        "args_digest": record.request.arguments_digest,
        "created_at": record.created_at.isoformat(),
    }
    if record.simulated:
        body["simulated"] = True
    if record.standing_approval:
        body["standing_approval"] = record.standing_approval
    if record.findings:
        body["findings"] = [
            {"code": code, "argument": argument}
            for code, argument, _ in record.findings
        ]
    outcome = record.outcome
    if outcome is not None:
        body["code"] = outcome.code
        if outcome.result is not None:
            body["result"] = dict(outcome.result)
    if note:
        body["message"] = note
    body |= _next(record)
    if questions:
        body |= {"questions": [dict(one) for one in questions], "next": NEXT_ASKED}
    return body


def _next(record: ActionRecord) -> dict[str, Any]:
    match record.state:
        case ActionState.PENDING_APPROVAL:
            expires = record.expires_at
            return {
                "reasons": [{"code": r.code} for r in record.reasons],
                "expires_at": expires.isoformat() if expires else None,
                "retry_after_s": RETRY_AFTER_PENDING_S,
                "next": NEXT_PENDING,
            }
        case ActionState.READY | ActionState.EXECUTING:
            return {"retry_after_s": RETRY_AFTER_EXECUTING_S, "next": NEXT_EXECUTING}
        case ActionState.UNKNOWN:
            return {"retry_after_s": RETRY_AFTER_PENDING_S, "next": NEXT_UNKNOWN}
        case _:
            return {}


def is_ended(record: ActionRecord) -> bool:
    """Return whether nothing more will happen to it."""
    return record.state in ENDED
