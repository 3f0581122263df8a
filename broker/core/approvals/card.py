"""The card: what a person is shown before they sign, in the order that helps most.

Its first half is what is asked, and has a digest that the vote signs: if anything in it
changes before the vote arrives, the person is asked to look again. The second half says
how things stand at the moment (budgets, votes so far) and is shown beside it.

Source: notes on five-second cards: what, why it may be wrong, why it is asked, the
customer's words beside the agent's; the agent's own reason comes last.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from broker.core.approvals.questions import on_card
from broker.core.canonical import digest
from broker.core.guard import value_at
from broker.core.identity.chain import delegation_of
from broker.core.words.moment import write_moment
from broker.core.words.subject import VerificationLevel

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from broker.core.approvals.questions import Asking
    from broker.core.words.action import ActionRecord
    from broker.core.words.approval import ApprovalRequest, Tally
    from broker.core.words.budget import Line
    from broker.core.words.decision import Quorum
    from broker.core.words.money import Money
    from broker.core.words.subject import Interaction
    from broker.core.words.tool import Tool

RECORD_FIELDS_MAX: Final = 12
"""Fields of the object's record on a card."""

WORDS_SHOWN_MAX: Final = 20
"""Newest turns of customer and agent on a card, together."""


@dataclass(frozen=True, slots=True)
class Said:
    """One turn; ``verified`` says whether it was a verified customer's."""

    speaker: str
    text: str
    at: datetime
    verified: bool


@dataclass(frozen=True, slots=True)
class Customer:
    """Whom it is about, and about what of theirs.

    ``name`` and ``record`` are what the system of record said in this interaction, if
    it did; ``record`` is of the object that the action names first.
    """

    interaction: Interaction
    name: str
    record: Mapping[str, Any] = field(default_factory=dict)


def asked(  # noqa: PLR0913  (what a card is made of)
    record: ActionRecord,
    request: ApprovalRequest,
    *,
    tool: Tool,
    customer: Customer,
    said: Sequence[Said],
    questions: Sequence[Asking] = (),
) -> dict[str, Any]:
    """Return what is asked, as JSON; ``shown`` gives its digest."""
    words = sorted(said, key=lambda one: one.at)[-WORDS_SHOWN_MAX:]
    return {
        "approval": request.approval_id,
        "action": record.request.action_id,
        "digest": request.digest,
        "verb": tool.title,
        "amount": _money(request.amount),
        "customer": {
            "ref": record.customer_ref,
            "name": customer.name,
            "verification": customer.interaction.verification.name.lower(),
            "channel": customer.interaction.channel,
        },
        "findings": [
            {
                "code": code,
                "argument": pointer,
                "value": value_at(record.request.arguments, pointer),
                "text": text,
            }
            for code, pointer, text in record.findings
        ],
        "reasons": [
            {"code": r.code, "rule": r.rule, "clause": r.clause, "text": r.text}
            for r in record.reasons
        ],
        "record": record_fields(customer.record),
        "tool": tool.name,
        "effect": tool.effect.value,
        "tier": int(tool.tier),
        "arguments": dict(record.request.arguments),
        "quorum": _quorum(request.quorum),
        "created_at": write_moment(request.created_at),
        "expires_at": write_moment(request.expires_at),
        "customer_said": [_word(one) for one in words if one.speaker == "customer"],
        "agent_said": [_word(one) for one in words if one.speaker != "customer"],
        "questions": on_card(questions),
        "simulated": record.simulated,
        "agent": record.requester.agent_id,
        **delegation_of(record.requester),
        **_order(record),
        # Last, so that nobody reads it before the rest.
        "agent_reason": record.request.reason,
    }


def _order(record: ActionRecord) -> dict[str, str]:
    """Return who ordered what in their own name; then the reason is theirs."""
    by = record.request.asked_by
    return {"ordered_by": by, "takes_back": record.request.reversal_of} if by else {}


def _quorum(quorum: Quorum) -> dict[str, Any]:
    return {
        "approvers_min": quorum.approvers_min,
        "role": quorum.role,
        "ladder": [
            {"role": rung.role, "after_s": rung.after_s} for rung in quorum.ladder
        ],
        "customer": level_name(quorum),
    }


def level_name(quorum: Quorum) -> str | None:
    """Return at which level the customer confirms as well; None if not asked."""
    return VerificationLevel(quorum.customer).name.lower() if quorum.customer else None


def record_fields(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a card shows of an object's record: its plain fields, in order."""
    plain = {
        name: value
        for name, value in record.items()
        if isinstance(value, str | int | bool)
    }
    return dict(list(plain.items())[:RECORD_FIELDS_MAX])


def shown(card: Mapping[str, Any]) -> str:
    """Return the digest of what is asked, which a vote names as ``shown``."""
    return digest(dict(card))


def reason_needed(record: ActionRecord) -> bool:
    """Return whether an approval must say why: a guard found something."""
    return bool(record.findings)


def meanwhile(tally: Tally, lines: Sequence[Line], *, quorum: Quorum) -> dict[str, Any]:
    """Return how things stand at the moment, as JSON: votes, and budgets with this.

    ``over`` marks a budget that has no room for it any more.
    """
    return {
        "state": tally.state.value,
        "approved_by": list(tally.counted),
        "votes_missing": max(0, quorum.approvers_min - len(tally.counted)),
        "customer_confirmed": tally.customer if quorum.customer else None,
        "budgets": [
            {
                "rule": line.rule_id,
                "unit": line.unit,
                "window": line.window.value,
                "limit": line.limit,
                "posted": line.posted,
                "held_by_others": line.held,
                "this": line.amount,
                "over": line.frozen
                or line.posted + line.held + line.amount > line.limit,
            }
            for line in lines
        ],
    }


def _money(amount: Money | None) -> dict[str, Any] | None:
    if amount is None:
        return None
    return {
        "minor_units": amount.minor_units,
        "currency": amount.currency,
        "text": str(amount),
    }


def _word(one: Said) -> dict[str, Any]:
    return {"at": write_moment(one.at), "text": one.text, "verified": one.verified}
