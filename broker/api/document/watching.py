"""Examples of what people look at afterwards, and of what OAuth and MCP say."""

from __future__ import annotations

from typing import Any, Final

_ACTION: Final = "0197a000-0000-7000-8000-0000000000e1"
_AGENT: Final = "0197a000-0000-7000-8000-0000000000e3"
_PERSON: Final = "0197a000-0000-7000-8000-0000000000e5"
_SECOND: Final = "0197a000-0000-7000-8000-0000000000e6"
_GRANT: Final = "0197a000-0000-7000-8000-0000000000c7"
_WARRANT: Final = "0197a000-0000-7000-8000-0000000000c8"
_CHANNEL: Final = "0197a000-0000-7000-8000-0000000000c1"
_DIGEST: Final = "9c56cc51b374c3ba189210d5b6d4bf57790d351c96c47c02190ecf1e430635ab"
_JWS: Final = "eyJhbGciOiJFUzI1NiIsImtpZCI6Ii4uLiIsInR5cCI6Ii4uLiJ9.e30.c2ln"
_KID: Final = "TVIccZBkpRAv9ImfFD0hK3n39ZW2hoI-dZvNiJg5UMQ"
_JKT: Final = "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"
_AT, _LATER = "2026-11-26T09:15:00.120000Z", "2026-12-03T09:15:00.120000Z"
_ASSERTED: Final = {
    "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
    "client_assertion": _JWS,
}
_ISSUER: Final = "http://127.0.0.1:8400"
_METHODS, _ALGORITHMS = ["private_key_jwt"], ["ES256", "EdDSA", "Ed25519"]
_CANARIES: Final = "/v1/admin/canaries"

_SAID: Final = {
    "at": _AT,
    "seq": 41,
    "kid": _KID,
    "grant": _GRANT,
    "by": None,
    "reason": None,
}
_EVENTS: Final = [
    _SAID | {"what": "token", "token": _WARRANT, "until": _LATER},
    _SAID
    | {"what": "refused", "codes": ["tool_not_granted"]}
    | {"claimed": False, "held_back": 0},
    _SAID | {"what": "revoked", "scopes": [f"agent:{_AGENT}"]},
    _SAID
    | {"what": "agent.revoke", "by": f"person:{_PERSON}", "reason": "odd refunds"}
    | {"seconded_by": None, "scopes": [f"agent:{_AGENT}"]},
    _SAID | {"what": "key_too_old"},
]
_TIMELINE: Final = {
    "agent": _AGENT,
    "name": "care-agent",
    "owner": _PERSON,
    "from": _AT,
    "until": None,
    "status": "active",
    "periods": [
        {
            "revision": 1,
            "from": _AT,
            "until": None,
            "by": [f"person:{_PERSON}", f"person:{_SECOND}"],
            "what": "agent.register",
            "reason": "first agent",
            "seq": 12,
            "status": "active",
            "tier_max": 3,
            "tools": ["orders.get", "orders.refund"],
            "kids": [_KID],
            "tokens": 1,
            "actions": 1,
        }
    ],
    "events": _EVENTS,
    "actions": [
        {
            "at": _AT,
            "action": _ACTION,
            "tool": "orders.get",
            "state": "done",
            "grant": _GRANT,
            "kid": _KID,
            "seq": 43,
        }
    ],
    "more": {"entries_from": None, "actions_until": None, "revisions": False},
}
_UNKNOWN: Final = {
    "action": _ACTION,
    "tool": "orders.refund",
    "agent": _AGENT,
    "customer_ref": "543bfd499db20087a67d6a0749f4b236",
    "amount": {"minor_units": 15_000, "currency": "USD", "text": "150.00 USD"},
    "since": _AT,
    "age_s": 640,
    "receipt": "upstream-timeout",
    "edge_said": "sent",
    "asks": 3,
    "asked_next_at": _LATER,
    "alarms": ["outcome_unknown"],
    "role": "supervisor",
    "digest": _DIGEST,
    "may_resolve": True,
    "why_not": None,
}
_SCORE: Final = {
    "person": _PERSON,
    "canaries": 12,
    "caught": 11,
    "tolerated_miss": 0.2,
    "evidence": 0.184,
    "alarm_at": 20.0,
    "suspended": False,
    "decided": 140,
    "approved": 97,
    "dwell_s": 11.5,
}
_MESSAGE: Final = {"jsonrpc": "2.0", "id": 1}

WATCHING_REQUESTS: Final[dict[tuple[str, str], Any]] = {
    ("POST", "/oauth/introspect"): _ASSERTED | {"token": _JWS},
    ("POST", "/mcp"): _MESSAGE
    | {
        "method": "tools/call",
        "params": {"name": "orders_get", "arguments": {"order_id": "W9311069"}},
    },
}
WATCHING_ANSWERS: Final[dict[tuple[str, str, str], Any]] = {
    ("POST", "/oauth/revoke", "200"): {},
    ("POST", "/oauth/introspect", "200"): {
        "active": True,
        "token_type": "DPoP",
        "iss": _ISSUER,
        "sub": f"agent:{_AGENT}",
        "client_id": f"agent:{_AGENT}",
        "aud": f"{_ISSUER}/v1",
        "iat": 1_795_684_500,
        "nbf": 1_795_684_500,
        "exp": 1_795_684_800,
        "jti": _WARRANT,
        "cnf": {"jkt": _JKT},
    },
    ("GET", "/.well-known/oauth-authorization-server", "200"): {
        "issuer": _ISSUER,
        "authorization_endpoint": f"{_ISSUER}/oauth/authorize",
        "token_endpoint": f"{_ISSUER}/oauth/token",
        "jwks_uri": f"{_ISSUER}/oauth/jwks",
        "revocation_endpoint": f"{_ISSUER}/oauth/revoke",
        "introspection_endpoint": f"{_ISSUER}/oauth/introspect",
        "response_types_supported": ["none"],
        "grant_types_supported": [
            "client_credentials",
            "urn:ietf:params:oauth:grant-type:token-exchange",
            "urn:ietf:params:oauth:grant-type:jwt-bearer",
        ],
        "token_endpoint_auth_methods_supported": _METHODS,
        "token_endpoint_auth_signing_alg_values_supported": _ALGORITHMS,
        "revocation_endpoint_auth_methods_supported": _METHODS,
        "revocation_endpoint_auth_signing_alg_values_supported": _ALGORITHMS,
        "introspection_endpoint_auth_methods_supported": _METHODS,
        "introspection_endpoint_auth_signing_alg_values_supported": _ALGORITHMS,
        "dpop_signing_alg_values_supported": ["ES256", "EdDSA"],
        "authorization_details_types_supported": ["counterfoil"],
    },
    ("POST", "/mcp", "200"): _MESSAGE
    | {
        "result": {
            "content": [{"type": "text", "text": "..."}],
            "structuredContent": {"status": "done", "action_id": _ACTION},
            "isError": False,
        }
    },
    ("GET", "/v1/approvals/events", "200"): (
        "retry: 1000\nid: 0197a000\nevent: here\ndata:\n\n"
        "id: 0197a001\nevent: changed\ndata:\n\n"
    ),
    ("GET", "/v1/admin/agents/{agent_id}/timeline", "200"): _TIMELINE,
    ("POST", "/v1/admin/channels/{channel_id}/key", "202"): {
        "change": f"channel-{_CHANNEL}",
        "revision": 1,
        "status": "open",
        "what": "channel.replace_key",
        "kind": "channel",
        "id": _CHANNEL,
        "name": "webchat",
        "asked_by": _PERSON,
        "asked_at": _AT,
        "expires_at": _LATER,
        "ended_by": None,
        "reason": "rotated",
        "would_be": {
            "id": _CHANNEL,
            "name": "webchat",
            "use_cases": ["retail-care"],
            "verification_max": 2,
            "status": "active",
            "revision": 1,
            "keys": [
                {
                    "kid": _KID,
                    "algorithm": "ES256",
                    "not_before": None,
                    "not_after": None,
                }
            ],
        },
    },
    ("GET", "/v1/admin/keys/stale", "200"): {
        "stale": [
            {
                "what": "key_too_old",
                "id": _AGENT,
                "name": "care-agent",
                "kid": _KID,
                "since": _AT,
                "days": 371,
            }
        ]
    },
    ("GET", "/v1/admin/actions/unknown", "200"): {"unknown": [_UNKNOWN]},
    ("POST", "/v1/admin/actions/unknown/reconcile", "200"): {
        "reconciled": [
            {
                "action": _ACTION,
                "state": "done",
                "by": "edge",
                "said": "answered",
                "alarms": [],
            }
        ],
        "left": 0,
    },
    ("POST", "/v1/admin/codec/decode", "200"): {
        "payloads": [
            {"metadata": {"encoding": "anNvbi9wbGFpbg=="}, "data": "eyJ2IjoxfQ=="}
        ]
    },
    ("POST", "/v1/admin/codec/rotations", "200"): {
        "seals": "codec-2",
        "sealed_before": "codec-1",
    },
    ("GET", "/v1/admin/restore", "200"): {"waits_for": None},
    ("POST", "/v1/admin/restore/agree", "200"): {
        "origin": "counterfoil.example/dev/2",
        "known": 212,
        "held": [_ACTION],
        "lost": [_WARRANT],
    },
    ("GET", _CANARIES, "200"): {
        "status": "on",
        "notice_shown": "all-hands, 2026-11-20",
        "agent": _AGENT,
        "per_day": 1,
        "asked_by": None,
        "people": [_SCORE],
        "staff_notice": "Among the actions that you are asked to approve, ...",
    },
    ("POST", f"{_CANARIES}/rights/{{person_id}}/give-back", "200"): {
        "person": _PERSON,
        "suspended": True,
        "asked_by": _SECOND,
    },
}
