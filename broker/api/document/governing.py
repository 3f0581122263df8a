"""Examples of what people who govern send and get: policy, stop, limits, keys."""

from __future__ import annotations

from typing import Any, Final

_AGENT: Final = "0197a000-0000-7000-8000-0000000000e3"
_PERSON: Final = "0197a000-0000-7000-8000-0000000000e5"
_SECOND: Final = "0197a000-0000-7000-8000-0000000000e6"
_STANDING: Final = "0197a000-0000-7000-8000-0000000000d1"
_JWS: Final = "eyJhbGciOiJFUzI1NiIsImtpZCI6Ii4uLiIsInR5cCI6Ii4uLiJ9.e30.c2ln"
_DIGEST: Final = "9c56cc51b374c3ba189210d5b6d4bf57790d351c96c47c02190ecf1e430635ab"
_AT: Final = "2026-11-26T09:15:00.120000Z"
_JWK: Final = {"kty": "EC", "crv": "P-256", "x": "...", "y": "..."}
_POLICY: Final = {"cedar": "permit (principal, action, resource);", "budgets": []}

_AGENTS: Final = "/v1/admin/agents/{agent_id}"
_PEOPLE: Final = "/v1/admin/people/{person_id}"
_USE_CASE: Final = "/v1/admin/use-cases/{use_case}"
_KEYS: Final = "/v1/admin/keys"
_CHANGES: Final = "/v1/admin/changes/{change_id}"
_LIMIT: Final = "/v1/admin/limits/{rule_id}"
_STAND: Final = "/v1/admin/standing"

GOVERNING_REQUESTS: Final[dict[tuple[str, str], Any]] = {
    ("POST", f"{_AGENTS}/resume"): {"reason": "the incident is over"},
    ("POST", f"{_AGENTS}/ceiling"): {"tier_max": 2, "reason": "answers only"},
    ("POST", f"{_AGENTS}/instances/{{instance_id}}/revoke"): {"reason": "host retired"},
    ("POST", f"{_AGENTS}/keys"): {
        "key": _JWK,
        "overlap_s": 86_400,
        "reason": "yearly rotation",
    },
    ("POST", f"{_AGENTS}/keys/{{kid}}/drop"): {"reason": "rotated"},
    ("POST", f"{_AGENTS}/delegate"): {"agent": _AGENT, "reason": "it books returns"},
    ("POST", f"{_AGENTS}/undelegate"): {"agent": _AGENT, "reason": "not needed"},
    ("POST", f"{_AGENTS}/federate"): {
        "federation": {
            "name": "our-idp",
            "issuer": "https://idp.example",
            "subject": "system:serviceaccount:care:agent",
            "jwks_url": "https://idp.example/keys",
        },
        "reason": "it has a workload identity",
    },
    ("POST", f"{_AGENTS}/unfederate"): {"name": "our-idp", "reason": "moved away"},
    ("POST", "/v1/admin/actions/{action_id}/undo"): {"reason": "refunded by mistake"},
    ("POST", "/v1/admin/notifications"): {
        "form": "mail",
        "connector": "notify_mail",
        "person": _PERSON,
        "address": "bob@shop.example",
        "kinds": ["asked", "expiring"],
    },
    ("POST", "/v1/admin/notifications/{subscription_id}/remove"): {
        "reason": "the list is closed"
    },
    ("POST", "/v1/notices/reject"): {"token": "...", "reason": "not this customer"},
    ("POST", f"{_PEOPLE}/roles"): {"add": ["supervisor"], "reason": "new team lead"},
    ("POST", f"{_PEOPLE}/limits"): {
        "approval_limits": {"USD": 200_000},
        "reason": "yearly review",
    },
    ("POST", f"{_PEOPLE}/suspend"): {"reason": "on leave"},
    ("POST", f"{_PEOPLE}/resume"): {"reason": "back from leave"},
    ("POST", f"{_PEOPLE}/remove"): {"reason": "left the company"},
    ("POST", f"{_CHANGES}/approve"): {"revision": 1, "reason": "as discussed"},
    ("POST", f"{_CHANGES}/reject"): {"reason": "the owner is another one"},
    ("POST", f"{_KEYS}/rotate"): {"reason": "yearly rotation"},
    ("POST", f"{_KEYS}/{{kid}}/compromised"): {"reason": "it was on a lost disk"},
    ("POST", "/v1/admin/kill-switch/on"): {"reason": "answers look wrong everywhere"},
    ("POST", "/v1/admin/kill-switch/off"): {"reason": "the cause was found and mended"},
    ("POST", "/v1/admin/codec/decode"): {
        "payloads": [{"metadata": {"encoding": "YmluYXJ5"}, "data": "c2VhbGVk"}]
    },
    ("POST", "/v1/admin/codec/rotations"): {
        "key": "q1rHBYlTeuA",
        "reason": "yearly rotation",
    },
    ("POST", f"{_USE_CASE}/add-tools"): {"tools": ["orders.return"]},
    ("POST", f"{_USE_CASE}/drop-tools"): {"tools": ["offers.grant"]},
    ("POST", "/v1/admin/credentials/probes"): {
        "connector": "retail",
        "version": 2,
        "tool": "products.list",
        "arguments": {},
    },
    ("POST", "/v1/policy/proposal"): {
        "policy": _POLICY,
        "version": 4,
        "signature": _JWS,
        "reason": "refunds up to 500 need one supervisor",
    },
    ("POST", "/v1/policy/proposal/approval"): {"version": 4, "signature": _JWS},
    ("POST", "/v1/policy/proposal/withdrawal"): {"reason": "a row is missing"},
    ("POST", "/v1/policy/replays"): {"policy": _POLICY, "days": 60},
    ("POST", "/v1/policy/shadow"): {"policy": _POLICY, "reason": "a week beside"},
    ("POST", f"{_LIMIT}/sign"): {"signature": _JWS, "reason": "holidays"},
    ("POST", f"{_STAND}/{{approval_id}}/sign"): {"signature": _JWS},
    ("POST", f"{_STAND}/{{approval_id}}/revoke"): {"reason": "the campaign is over"},
}

_VERSION: Final = {
    "version": 4,
    "at": _AT,
    "digest": _DIGEST,
    "author": _PERSON,
    "approver": _SECOND,
    "signatures": 2,
    "reason": "refunds up to 500 need one supervisor",
    "rollback_of": None,
}
_PROPOSED: Final = _VERSION | {"approver": None, "signatures": 1}
_SAME: Final[dict[str, list[str]]] = {"added": [], "removed": [], "changed": []}
_DIFFERS: Final = {
    "rules": _SAME | {"changed": ["company.C1"]},
    "rates": _SAME,
    "budgets": _SAME | {"changed": ["agent-day"]},
    "other": [],
}
_TALLY: Final = {
    "replayed": 2_872,
    "simulated": 0,
    "flipped": 79,
    "left_out": {},
    "outcomes": {"permit": 2_214, "escalate 2 supervisor": 110},
    "flips": [
        {
            "before": "escalate 1 supervisor",
            "after": "escalate 2 supervisor",
            "tool": "orders.refund",
            "agent": _AGENT,
            "currency": "USD",
            "count": 79,
            "minor_units": 4_145_699,
        }
    ],
    "shown": [],
}
_STANDS: Final = {
    "id": _STANDING,
    "state": "active",
    "revision": 2,
    "tool": "orders.refund",
    "agents": [_AGENT],
    "constraints": {},
    "per_action_minor_units": 5_000,
    "total_minor_units": 20_000,
    "currency": "USD",
    "expires_at": "2026-12-23T09:00:00.000000Z",
    "signed_by": [_PERSON, _SECOND],
    "digest": _DIGEST,
}
_LIMITED: Final = {
    "rule": "agent-day",
    "per": ["agent"],
    "unit": "USD",
    "window": "day",
    "policy": 1_000_000,
    "set": 400_000,
    "limit": 400_000,
    "per_action": None,
    "revision": 2,
    "proposed": None,
}
_STOPPED: Final = {"on": True, "revision": 3, "lift_asked_by": None}

GOVERNING_ANSWERS: Final[dict[tuple[str, str, str], Any]] = {
    ("GET", "/v1/policy/versions", "200"): {"versions": [_VERSION], "proposal": None},
    ("GET", "/v1/policy/versions/{number}", "200"): _VERSION | {"policy": _POLICY},
    ("GET", "/v1/policy/proposal", "200"): _PROPOSED
    | {"policy": _POLICY, "changes": _DIFFERS, "narrows": False},
    ("POST", "/v1/policy/proposal", "201"): _PROPOSED | {"state": "proposed"},
    ("POST", "/v1/policy/proposal/approval", "200"): _VERSION | {"state": "published"},
    ("POST", "/v1/policy/proposal/withdrawal", "200"): _PROPOSED
    | {"state": "withdrawn"},
    ("POST", "/v1/policy/replays", "200"): {
        "tally": _TALLY,
        "after": "0197a000-0000-7000-8000-0000000000e1",
        "until": "0197b000-0000-7000-8000-000000000000",
        "more": False,
    },
    ("GET", "/v1/policy/shadow", "200"): {
        "state": "on",
        "digest": _DIGEST,
        "by": _PERSON,
        "reason": "a week beside",
        "since": _AT,
        "counted_at": _AT,
        "tally": _TALLY,
    },
    ("POST", "/v1/policy/shadow", "200"): {"state": "on", "digest": _DIGEST},
    ("GET", "/v1/admin/kill-switch", "200"): {
        "on": False,
        "revision": 2,
        "lift_asked_by": None,
    },
    ("POST", "/v1/admin/kill-switch/on", "200"): _STOPPED,
    ("POST", "/v1/admin/kill-switch/off", "200"): _STOPPED | {"lift_asked_by": _PERSON},
    ("POST", "/v1/admin/budgets/{budget_id}/release", "200"): {
        "budget_id": _DIGEST,
        "rule": "agent-day",
        "windows": 1,
    },
    ("POST", _LIMIT, "200"): _LIMITED,
    ("POST", f"{_LIMIT}/sign", "200"): _LIMITED,
    ("POST", _STAND, "201"): _STANDS
    | {"state": "proposed", "revision": 1, "signed_by": [_PERSON]},
    ("GET", f"{_STAND}/agents", "200"): {
        "agents": [{"id": _AGENT, "name": "care-agent", "use_case": "retail-care"}]
    },
    ("POST", f"{_STAND}/{{approval_id}}/sign", "200"): _STANDS,
    ("POST", f"{_STAND}/{{approval_id}}/revoke", "200"): _STANDS
    | {"state": "revoked", "revision": 3},
}
