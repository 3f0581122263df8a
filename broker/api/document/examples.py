"""Requests and answers as they look, by method, path and status; all made up."""

from __future__ import annotations

from typing import Any, Final

from broker.api.document.approvals import APPROVAL_ANSWERS, APPROVAL_REQUESTS
from broker.api.document.authority import (
    AGENT,
    AUTHORITY_ANSWERS,
    AUTHORITY_REQUESTS,
)
from broker.api.document.governing import GOVERNING_ANSWERS, GOVERNING_REQUESTS
from broker.api.document.limits import LIMIT_ANSWERS, LIMIT_REQUESTS
from broker.api.document.watching import WATCHING_ANSWERS, WATCHING_REQUESTS

ACTION, APPROVAL = (
    "0197a000-0000-7000-8000-0000000000e1",
    "0197a000-0000-7000-8000-0000000000e2",
)
INTERACTION: Final = "0197a000-0000-7000-8000-0000000000e4"
DIGEST: Final = "9c56cc51b374c3ba189210d5b6d4bf57790d351c96c47c02190ecf1e430635ab"
_JWS: Final = "eyJhbGciOiJFUzI1NiIsImtpZCI6Ii4uLiIsInR5cCI6Ii4uLiJ9.e30.c2ln"
_ASSERTION_TYPE: Final = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_ARGUMENTS: Final = {
    "order_id": "W9311069",
    "amount_minor_units": 15_000,
    "currency": "USD",
    "payment_method_id": "gift_card_7245904",
}
_ACTION: Final = {
    "action_id": ACTION,
    "tool": "orders.refund",
    "interaction": INTERACTION,
    "args_digest": DIGEST,
    "created_at": "2026-11-26T09:15:00.120000+00:00",
}
_PENDING: Final = _ACTION | {
    "status": "pending_approval",
    "reasons": [{"code": "needs_approval"}],
    "expires_at": "2026-11-27T09:15:00.120000+00:00",
    "retry_after_s": 15,
    "next": "A person must approve this. Call get_action with this action_id; "
    "do not repeat this call.",
}
_DONE: Final = _ACTION | {
    "status": "done",
    "code": "done",
    "result": {
        "refund_id": "R0000001",
        "amount_minor_units": 15_000,
        "currency": "USD",
        "status": "refunded",
    },
}
_MONEY: Final = {"minor_units": 15_000, "currency": "USD", "text": "150.00 USD"}
_WAITING: Final = {
    "approval": APPROVAL,
    "action": ACTION,
    "tool": "orders.refund",
    "amount": _MONEY,
    "customer_ref": "543bfd499db20087a67d6a0749f4b236",
    "agent": AGENT,
    "role": "supervisor",
    "escalated": [],
    "approvers_min": 1,
    "votes": 0,
    "claim": None,
    "created_at": "2026-11-26T09:15:00.120000Z",
    "expires_at": "2026-11-27T09:15:00.120000Z",
    "expires_in_s": 86_400,
    "findings": ["/payment_method_id"],
    "simulated": False,
    "may_approve": True,
    "why_not": None,
}
_CARD: Final = {
    "asked": {
        "approval": APPROVAL,
        "action": ACTION,
        "digest": DIGEST,
        "verb": "Refund an amount on an order",
        "amount": _MONEY,
        "customer": {
            "ref": "543bfd499db20087a67d6a0749f4b236",
            "name": "Aarav Anderson",
            "verification": "matched",
            "channel": "webchat",
        },
        "findings": [
            {
                "code": "argument_from_third_party",
                "argument": "/payment_method_id",
                "value": "gift_card_7245904",
                "text": "stands in a note that anybody can write",
            }
        ],
        "reasons": [
            {
                "code": "needs_approval",
                "rule": "refund-one",
                "clause": "C2",
                "text": "a refund needs one supervisor",
            }
        ],
        "record": {"order_id": "W9311069", "status": "delivered"},
        "tool": "orders.refund",
        "effect": "money",
        "tier": 3,
        "arguments": _ARGUMENTS,
        "quorum": {
            "approvers_min": 1,
            "role": "supervisor",
            "ladder": [{"role": "compliance", "after_s": 14_400}],
            "customer": None,
        },
        "created_at": "2026-11-26T09:15:00.120000Z",
        "expires_at": "2026-11-27T09:15:00.120000Z",
        "customer_said": [
            {
                "at": "2026-11-26T09:14:30.000000Z",
                "text": "One of my orders arrived broken.",
                "verified": True,
            }
        ],
        "agent_said": [
            {
                "at": "2026-11-26T09:14:50.000000Z",
                "text": "I am sorry about that. I have asked for a refund.",
                "verified": False,
            }
        ],
        "questions": [
            {
                "number": 1,
                "asked_by": "0197a000-0000-7000-8000-0000000000e5",
                "at": "2026-11-26T09:16:00.000000Z",
                "question": "Which of the two parcels arrived broken?",
                "answer": {
                    "at": "2026-11-26T09:17:00.000000Z",
                    "text": "The customer wrote that it was the second one.",
                    "label": "model_authored",
                },
            }
        ],
        "simulated": False,
        "agent": AGENT,
        "agent_reason": "the goods arrived broken",
    },
    "shown": DIGEST,
    "reason_needed": False,
    "now": {
        "state": "pending",
        "action": "pending_approval",
        "approved_by": ["0197a000-0000-7000-8000-0000000000e5"],
        "votes_missing": 1,
        "customer_confirmed": None,
        "claim": None,
        "budgets": [
            {
                "rule": "order-paid",
                "unit": "USD",
                "window": "ever",
                "limit": 433_553,
                "posted": 2_500,
                "held_by_others": 0,
                "this": 15_000,
                "over": False,
            }
        ],
    },
    "you": {"may_approve": True, "why_not": None},
}

REQUESTS: Final[dict[tuple[str, str], dict[str, Any]]] = {
    **LIMIT_REQUESTS,
    **AUTHORITY_REQUESTS,
    **APPROVAL_REQUESTS,
    **GOVERNING_REQUESTS,
    **WATCHING_REQUESTS,
    ("POST", "/oauth/token"): {
        "grant_type": "client_credentials",
        "client_assertion_type": _ASSERTION_TYPE,
        "client_assertion": _JWS,
        "resource": "http://127.0.0.1:8400/v1",
    },
    ("POST", "/oauth/revoke"): {
        "client_assertion_type": _ASSERTION_TYPE,
        "client_assertion": _JWS,
        "token": _JWS,
    },
    ("POST", "/v1/actions"): {
        "tool": "orders.refund",
        "arguments": _ARGUMENTS,
        "interaction": INTERACTION,
        "reason": "the goods arrived broken",
    },
    ("POST", "/v1/decisions"): {
        "tool": "orders.refund",
        "arguments": _ARGUMENTS,
        "interaction": INTERACTION,
    },
    ("POST", "/v1/interactions"): {"assertion": _JWS},
    ("POST", "/v1/interactions/{interaction_id}/turns"): {"assertion": _JWS},
    ("POST", "/v1/interactions/{interaction_id}/end"): {"assertion": _JWS},
    ("POST", "/v1/interactions/{interaction_id}/confirmations"): {"assertion": _JWS},
    ("POST", "/v1/interactions/{interaction_id}/confirmations/waiting"): {
        "assertion": _JWS
    },
    ("POST", "/v1/approvals/{approval_id}/votes"): {"vote": _JWS},
    ("POST", "/v1/admin/actions/{action_id}/resolve"): {
        "happened": True,
        "amount_minor_units": 900,
        "reason": "refund R-7 in the CRM",
        "signature": _JWS,
    },
}

_AT: Final = "2026-11-26T09:15:00.120000Z"
_PERMITTED: Final = {
    "tool": "orders.get",
    "effect": "read",
    "requests": [
        {
            "method": "GET",
            "path": "/orders/{args.order_id}",
            "scopes": ["orders:read"],
        }
    ],
    "agents": [],
    "uses": 0,
    "last_used": "",
}
_SCOPED: Final = {
    "scope": "orders:read",
    "tools": ["orders.get"],
    "granted": False,
    "uses": 0,
    "last_used": "",
}
_HOLDS: Final = {"id": AGENT, "name": "care-agent", "uses": 12, "last_used": _AT}
_HELD: Final = _HOLDS | {"uses": 0, "last_used": ""}
PROBLEM_EXAMPLE: Final = {
    "type": "/errors/approval-stale",
    "title": "The approval no longer matches the action",
    "status": 409,
    "code": "approval-stale",
    "detail": "digest 3f00..a1b2 was signed, 9c56..35ab is asked",
    "hint": "look at it again, and sign anew",
}
_DENIED: Final = {
    "type": "/errors/denied",
    "title": "Denied",
    "status": 403,
    "code": "denied",
    "detail": "The request was understood, and the answer is no.",
    "hint": "Ask a person; the same call will not pass today.",
    "reasons": [{"code": "over_budget"}],
    "findings": [],
    "action_id": ACTION,
}

ANSWERS: Final[dict[tuple[str, str, str], Any]] = {
    **LIMIT_ANSWERS,
    **AUTHORITY_ANSWERS,
    **APPROVAL_ANSWERS,
    **GOVERNING_ANSWERS,
    **WATCHING_ANSWERS,
    ("POST", "/oauth/token", "200"): {
        "access_token": _JWS,
        "token_type": "DPoP",
        "expires_in": 300,
    },
    ("GET", "/v1/tools", "200"): {
        "subject": f"agent:{AGENT}",
        "interaction": INTERACTION,
        "proof": True,
        "tools": [
            {
                "name": "customers.get",
                "title": "Read the customer's record",
                "description": "Returns the name and orders of this customer.",
                "effect": "read",
                "tier": 1,
                "arguments": {"type": "object", "additionalProperties": False},
            }
        ],
    },
    ("POST", "/v1/actions", "200"): _DONE,
    ("POST", "/v1/actions", "202"): _PENDING,
    ("POST", "/v1/actions", "403"): _DENIED,
    ("GET", "/v1/actions", "200"): {"actions": [_DONE, _PENDING]},
    ("GET", "/v1/actions/{action_id}", "200"): _DONE,
    ("POST", "/v1/actions/{action_id}/answers", "200"): _PENDING,
    ("POST", "/v1/admin/actions/{action_id}/undo", "200"): _DONE
    | {"tool": "orders.reverse_refund"},
    ("POST", "/v1/admin/actions/{action_id}/undo", "202"): _PENDING
    | {"tool": "orders.reverse_refund"},
    ("DELETE", "/v1/actions/{action_id}", "200"): _ACTION | {"status": "cancelled"},
    ("POST", "/v1/decisions", "200"): {
        "decision": "escalate",
        "reasons": [{"code": "needs_approval"}],
        "findings": [
            {"code": "argument_from_third_party", "argument": "/payment_method_id"}
        ],
        "next": "You may ask for it; it then waits for a person.",
    },
    ("POST", "/v1/interactions", "201"): {
        "interaction": INTERACTION,
        "agent": AGENT,
        "customer_bound": True,
        "verification_level": 2,
    },
    ("POST", "/v1/interactions/{interaction_id}/turns", "201"): {"turn": ACTION},
    ("POST", "/v1/interactions/{interaction_id}/end", "200"): {
        "interaction": INTERACTION,
        "ended_at": "2026-11-26T09:45:00.000000Z",
    },
    ("POST", "/v1/interactions/{interaction_id}/confirmations", "201"): {
        "approval": APPROVAL,
        "confirmation": ACTION,
        "state": "pending",
    },
    ("POST", "/v1/interactions/{interaction_id}/confirmations/waiting", "200"): {
        "waiting": [
            {
                "approval": APPROVAL,
                "digest": DIGEST,
                "verb": "Refund an order",
                "amount": "150.00 USD",
                "arguments": _ARGUMENTS,
                "verification_level": 2,
                "level_name": "matched",
                "expires_at": "2026-11-27T09:15:00.120000Z",
            }
        ]
    },
    ("GET", "/v1/approvals", "200"): {
        "approvals": [_WAITING],
        "next_cursor": None,
    },
    ("GET", "/v1/approvals/{approval_id}", "200"): _CARD,
    ("POST", "/v1/approvals/{approval_id}/votes", "200"): {
        "approval": APPROVAL,
        "vote": "0197a000-0000-7000-8000-0000000000e6",
        "state": "approved",
        "approved": 1,
        "approvers_min": 1,
    },
    ("POST", "/v1/approvals/{approval_id}/votes", "409"): PROBLEM_EXAMPLE,
    ("POST", "/v1/admin/actions/{action_id}/resolve", "200"): {
        "action": ACTION,
        "state": "done",
        "repeated": False,
    },
    ("POST", "/v1/console/links", "201"): {
        "url": "http://127.0.0.1:8400/console/sign-in#...",
        "expires_at": "2026-11-26T09:20:00.120000Z",
    },
    ("POST", "/v1/admin/credentials/probes", "201"): {
        "order": "eyJhbGciOiJFZERTQSIsInR5cCI6ImNvdW50ZXJmb2lsLXByb2JlK2p3dCJ9...",
        "order_id": ACTION,
        "edge": "019a7d3e-1f04-7c55-9a1b-6f2d0c4b8e11",
        "expires_at": "2026-11-26T09:02:00.120000Z",
    },
    ("GET", "/v1/admin/permissions", "200"): {
        "since": "2026-08-28T09:00:00.120000Z",
        "connectors": [
            {
                "connector": "retail",
                "tools": [
                    _PERMITTED
                    | {"agents": [_HOLDS, _HELD], "uses": 12, "last_used": _AT},
                    _PERMITTED,
                ],
                "scopes": [
                    _SCOPED | {"granted": True, "uses": 12, "last_used": _AT},
                    _SCOPED,
                ],
            }
        ],
        "drop": [
            {
                "what": "tool",
                "connector": "retail",
                "tool": "orders.get",
                "agent": "",
                "scope": "",
                "why": "no active agent holds orders.get",
                "how": "take it out of its use cases, and its manifest away",
            }
        ],
    },
}
