"""Other forms of the same answer, by a name for each: what else callers must read."""

from __future__ import annotations

from typing import Any, Final

from broker.api.document.authority import AGENT, AUTHORITY_ANSWERS
from broker.api.document.examples import ANSWERS, INTERACTION

_RPC: Final = {"jsonrpc": "2.0", "id": 1}
_FAILED: Final = {"code": -32602, "message": "no such tool"}
_DATA: Final = {
    "code": "invalid",
    "hint": "see tools/list",
    "pointer": "/name",
    "retry_after_s": 5,
}
_CHANGES: Final = "/v1/admin/changes"
_STANDING: Final = "0197a000-0000-7000-8000-0000000000d1"
_PENDING: Final = ANSWERS["POST", "/v1/actions", "202"]
_DONE: Final = ANSWERS["POST", "/v1/actions", "200"]
_ACTION: Final = {
    name: _DONE[name]
    for name in ("action_id", "tool", "interaction", "args_digest", "created_at")
}
_QUESTION: Final = {
    "question_id": "0197a000-0000-7000-8000-0000000000e6",
    "question": "Which of the two parcels arrived broken?",
}
_TOKEN: Final = ANSWERS["POST", "/oauth/token", "200"]
_FINDING: Final = {"code": "argument_from_third_party", "argument": "/to"}
_STATES: Final[dict[str, dict[str, Any]]] = {
    "under_a_standing_approval": _DONE | {"standing_approval": _STANDING},
    "held": _PENDING | {"findings": [_FINDING]},
    "asked_back": _PENDING | {"questions": [_QUESTION]},
    "refused": _ACTION
    | {"status": "refused", "code": "rejected", "message": "not this customer"},
    "executing": _ACTION
    | {"status": "executing", "retry_after_s": 1, "next": "It is being executed."},
    "unknown": _ACTION
    | {
        "status": "unknown",
        "code": "upstream_timeout",
        "retry_after_s": 15,
        "next": "Nobody knows yet whether it happened.",
    },
    "simulated": _DONE | {"simulated": True},
}
_REASONS: Final = [
    {
        "code": "needs_approval",
        "rule": "refund-one",
        "clause": "C2",
        "text": "a refund needs one supervisor",
    }
]
_QUORUM: Final = {
    "approvers_min": 1,
    "role": "supervisor",
    "expires_s": 86_400,
    "remind_s": 14_400,
    "ladder": [{"role": "compliance", "after_s": 14_400}],
    "customer": None,
}
_EXPLAINED: Final = {
    "tool": "orders.refund",
    "decision": "escalate",
    "reasons": _REASONS,
    "quorum": _QUORUM,
    "policy_version": 3,
    "asked": {
        "effect": "money",
        "tier": 3,
        "use_case": "retail-care",
        "amount_minor_units": 15_000,
        "currency": "USD",
        "channel": "webchat",
        "topics": ["refund"],
        "customer_flags": [],
        "verification": "matched",
        "standing_approval": False,
    },
    "findings": [_FINDING | {"text": "stands in a note that anybody can write"}],
    "totals": [{"total": "refunds_30d", "value": 2_500, "unit": "USD"}],
    "budgets": [
        {
            "rule": "agent-day",
            "unit": "USD",
            "window": "day",
            "window_start": "2026-11-26T00:00:00.000000Z",
            "limit": 1_000_000,
            "posted": 12_500,
            "held": 0,
            "this": 15_000,
            "remaining": 972_500,
            "frozen": False,
        }
    ],
    "would_pass": [
        {
            "changes": [
                {
                    "change": "amount",
                    "value": 5_000,
                    "text": "the amount must be at most 50.00 USD",
                }
            ],
            "decision": "permit",
            "reasons": [],
        },
        {
            "changes": [
                {
                    "change": "people",
                    "value": "supervisor",
                    "text": "1 must sign, as the quorum says",
                }
            ],
            "decision": "escalate",
            "reasons": _REASONS,
            "quorum": _QUORUM,
        },
    ],
}


def _without(example: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: part for name, part in example.items() if name not in names}


def _changes(method: str, where: str) -> dict[str, dict[str, Any]]:
    """Return the same change of a person and of a channel: usual is an agent's."""
    usual = AUTHORITY_ANSWERS[method, where, "200"]
    person = AUTHORITY_ANSWERS["POST", "/v1/admin/people", "202"]
    channel = ANSWERS["POST", "/v1/admin/channels/{channel_id}/key", "202"]
    mine = {name: usual.get(name) for name in ("status", "ended_by")}
    return {"of_a_person": person | mine, "of_a_channel": channel | mine}


MORE_ANSWERS: Final[dict[tuple[str, str, str], dict[str, Any]]] = {
    **dict.fromkeys(
        (
            ("POST", "/v1/actions", "200"),
            ("POST", "/v1/actions", "202"),
            ("GET", "/v1/actions/{action_id}", "200"),
            ("POST", "/v1/actions/{action_id}/answers", "200"),
            ("DELETE", "/v1/actions/{action_id}", "200"),
            ("POST", "/v1/admin/actions/{action_id}/undo", "200"),
            ("POST", "/v1/admin/actions/{action_id}/undo", "202"),
        ),
        _STATES,
    ),
    ("GET", "/v1/actions", "200"): {
        name: {"actions": [one]} for name, one in _STATES.items()
    },
    ("POST", "/v1/decisions", "200"): {
        "to_a_person": _EXPLAINED,
        "permitted": _without(_EXPLAINED, "quorum") | {"decision": "permit"},
        "not_asked": _without(_EXPLAINED, "quorum") | {"decision": "deny", "asked": {}},
    },
    ("POST", "/oauth/token", "200"): {
        "narrowed": _TOKEN | {"token_type": "Bearer", "scope": "tool:orders.get"},
        "with_details": _TOKEN
        | {
            "authorization_details": [
                {
                    "type": "counterfoil",
                    "interaction": INTERACTION,
                    "tools": ["orders.refund"],
                    "amount_max_minor_units": 5_000,
                    "currency": "USD",
                    "tier_max": 3,
                    "count_max": 1,
                    "customer": "543bfd499db20087a67d6a0749f4b236",
                },
                {"type": "counterfoil"},
            ]
        },
        "exchanged": _TOKEN
        | {"issued_token_type": "urn:ietf:params:oauth:token-type:access_token"},
    },
    ("POST", "/oauth/introspect", "200"): {
        "inactive": {"active": False},
        "delegated": ANSWERS["POST", "/oauth/introspect", "200"]
        | {"act": {"sub": f"agent:{AGENT}"}},
    },
    ("POST", "/mcp", "200"): {
        "listed": _RPC | {"result": {"tools": []}},
        "failed": _RPC | {"error": _FAILED},
        "failed_for_a_field": _RPC | {"error": _FAILED | {"data": _DATA}},
        "failed_for_now": _RPC | {"error": _FAILED | {"data": {}}},
    },
    **{
        (method, where, "200"): _changes(method, where)
        for method, where in (
            ("GET", f"{_CHANGES}/{{change_id}}"),
            ("POST", f"{_CHANGES}/{{change_id}}/approve"),
            ("POST", f"{_CHANGES}/{{change_id}}/reject"),
        )
    },
    ("GET", _CHANGES, "200"): {
        name: {"changes": [one]}
        for name, one in _changes("GET", f"{_CHANGES}/{{change_id}}").items()
    },
}
"""All of them, and the usual one, by method, path and status."""
