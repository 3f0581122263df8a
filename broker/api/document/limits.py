"""Examples of budgets, limits and standing approvals."""

from __future__ import annotations

from typing import Any, Final

_BUDGET_ID = "3b0f5e" + "0" * 52 + "a1b2c3"
_PERSON_ID = "0197a000-0000-7000-8000-0000000000b3"
_STANDING_ID = "0197a000-0000-7000-8000-0000000000d1"
_BUDGET = {
    "budget_id": _BUDGET_ID,
    "rule": "agent-day",
    "scope": {"agent": "0197a000-0000-7000-8000-00000000a001"},
    "window": "day",
    "window_start": "2026-11-23T00:00:00.000000Z",
    "unit": "USD",
    "posted": 12_500,
    "held": 2_500,
    "limit": 1_000_000,
    "left": 985_000,
    "frozen": False,
}
_LIMIT = {
    "rule": "agent-day",
    "per": ["agent"],
    "unit": "USD",
    "window": "day",
    "policy": 1_000_000,
    "set": 400_000,
    "limit": 400_000,
    "per_action": None,
    "revision": 2,
    "proposed": {"limit": 900_000, "by": _PERSON_ID, "after": 1},
}
_TERMS = {
    "tool": "orders.refund",
    "agents": ["0197a000-0000-7000-8000-00000000a001"],
    "constraints": {"/amount_minor_units": {"max": 5_000}},
    "per_action_minor_units": 5_000,
    "total_minor_units": 20_000,
    "currency": "USD",
    "expires_at": "2026-12-23T09:00:00.000000Z",
}
_STANDING = {
    "id": _STANDING_ID,
    "state": "proposed",
    "revision": 1,
    **_TERMS,
    "signed_by": ["0197a000-0000-7000-8000-0000000000b1"],
    "digest": "9c" * 32,
}
_DIFFERENCE = {
    "budget_id": _BUDGET_ID,
    "window_start": "2026-11-23T00:00:00.000000Z",
    "rule": "agent-day",
    "unit": "USD",
    "posted": {"log": 12_500, "budget": 500},
    "held": {"log": 2_500, "budget": 2_500},
}

LIMIT_REQUESTS: Final[dict[tuple[str, str], Any]] = {
    ("POST", "/v1/admin/limits/{rule_id}"): {"limit": 400_000, "reason": "holidays"},
    ("POST", "/v1/admin/budgets/{budget_id}/release"): {
        "reason": "the upstream rounded up by one cent"
    },
    ("POST", "/v1/admin/standing"): {
        "id": _STANDING_ID,
        **_TERMS,
        "signature": "eyJ0eXAiOiJjb3VudGVyZm9pbC1zdGFuZGluZytqd3QifQ.eyJ.c2ln",
    },
}

LIMIT_ANSWERS: Final[dict[tuple[str, str, str], Any]] = {
    ("GET", "/v1/admin/budgets", "200"): {"budgets": [_BUDGET]},
    ("GET", "/v1/admin/reservations", "200"): {
        "reservations": [
            {
                "action_id": "0197b000-0000-7000-8000-000000000001",
                "budget_id": _BUDGET_ID,
                "window_start": "2026-11-23T00:00:00.000000Z",
                "amount": 2_500,
                "posted": None,
                "state": "held",
                "updated_at": "2026-11-23T09:00:00.000000Z",
            }
        ]
    },
    ("POST", "/v1/admin/budgets/reconcile", "200"): {
        "entries": 1_204,
        "agrees": False,
        "differences": [_DIFFERENCE],
    },
    ("GET", "/v1/admin/limits", "200"): {"limits": [_LIMIT]},
    ("GET", "/v1/admin/standing", "200"): {"standing": [_STANDING]},
    ("GET", "/v1/admin/standing/{approval_id}", "200"): _STANDING,
}
