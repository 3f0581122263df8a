"""Examples of agents, people, changes, channels, keys, and who is told."""

from __future__ import annotations

from typing import Any, Final

AGENT: Final = "0197a000-0000-7000-8000-0000000000e3"
PERSON: Final = "0197a000-0000-7000-8000-0000000000e5"
KID: Final = "TVIccZBkpRAv9ImfFD0hK3n39ZW2hoI-dZvNiJg5UMQ"
_AT, _LATER = "2026-11-26T09:15:00.120000Z", "2026-12-03T09:15:00.120000Z"
_ISSUER: Final = "http://127.0.0.1:8400"
_AGENTS: Final = "/v1/admin/agents/{agent_id}"
_PEOPLE: Final = "/v1/admin/people/{person_id}"
_USE_CASES: Final = "/v1/admin/use-cases"
_CHANNELS: Final = "/v1/admin/channels"
_NOTICES: Final = "/v1/admin/notifications"
_CANARIES: Final = "/v1/admin/canaries"

_KEY: Final = {
    "kid": KID,
    "algorithm": "ES256",
    "not_before": None,
    "not_after": None,
}
_KEY_USED: Final = _KEY | {"last_used": _AT}
_JWK: Final = {
    "kty": "EC",
    "crv": "P-256",
    "x": "WKn-ZIGevcwGIyyrzFoZNBdaq9_TsqzGl96oc0CWuis",
    "y": "y77t-RvAHRKTsSGdIYUfweuOvwrvDD-Q3Hv5J0fSKbE",
}
_AGENT: Final = {
    "id": AGENT,
    "client_id": f"agent:{AGENT}",
    "name": "care-agent",
    "owner": PERSON,
    "use_case": "retail-care",
    "environment": "dev",
    "tier_max": 3,
    "tools": ["orders.get", "orders.refund"],
    "status": "active",
    "revision": 1,
    "keys": [_KEY],
    "delegates": ["0197a000-0000-7000-8000-0000000000e9"],
    "federations": [
        {
            "name": "our-idp",
            "issuer": "https://idp.example",
            "subject": "system:serviceaccount:care:agent",
            "audience": "http://127.0.0.1:8400",
            "life_s_max": 600,
            "reusable": False,
            "jwks_url": "https://idp.example/keys",
            "networks": ["10.20.0.0/16"],
        },
        {
            "name": "on-prem",
            "issuer": "https://idp.shop.example",
            "subject": "agent@shop.example",
            "audience": "http://127.0.0.1:8400",
            "life_s_max": 600,
            "reusable": False,
            "keys": [
                _JWK,
                {
                    "kty": "RSA",
                    "n": "sXchDaQebHnPiGvyDOAT4saGEUetSyo9MKLOoWFsueri23bOdgWp4Dy1Wl",
                    "e": "AQAB",
                    "kid": "2026-11",
                    "alg": "RS256",
                    "use": "sig",
                },
            ],
        },
    ],
}
_PERSON: Final = {
    "id": PERSON,
    "client_id": f"person:{PERSON}",
    "name": "alice",
    "roles": ["supervisor"],
    "approval_limits": {"USD": 200_000},
    "status": "active",
    "revision": 1,
    "keys": [_KEY],
}
_AGENT_CHANGE: Final = {
    "change": f"agent-{AGENT}",
    "revision": 1,
    "status": "open",
    "what": "agent.register",
    "kind": "agent",
    "id": AGENT,
    "name": "care-agent",
    "asked_by": PERSON,
    "asked_at": _AT,
    "expires_at": _LATER,
    "ended_by": None,
    "reason": "",
    "would_be": _AGENT | {"revision": 0},
}
_PERSON_CHANGE: Final = _AGENT_CHANGE | {
    "change": f"person-{PERSON}",
    "what": "person.add",
    "kind": "person",
    "id": PERSON,
    "name": "alice",
    "would_be": _PERSON | {"revision": 0},
}
_CHANNEL: Final = {
    "id": "0197a000-0000-7000-8000-0000000000c1",
    "name": "webchat",
    "use_cases": ["retail-care"],
    "verification_max": 2,
    "status": "active",
    "revision": 1,
    "keys": [_KEY],
}
_USE_CASE: Final = {
    "name": "retail-care",
    "revision": 2,
    "owner": PERSON,
    "tools": ["orders.get", "orders.refund"],
    "tier": 3,
}
_SIGNING_KEY: Final = {
    "kid": KID,
    "state": "active",
    "algorithm": "ES256",
    "verifies_until": None,
    "published_at": _AT,
    "signs_from": _AT,
    "signs_until": None,
    "compromised_at": None,
}
_SUBSCRIPTION: Final = {
    "subscription": "0197a000-0000-7000-8000-0000000000f1",
    "form": "mail",
    "connector": "notify_mail",
    "role": None,
    "person": PERSON,
    "kinds": ["asked", "expiring"],
    "per_hour": 60,
    "reject_links": False,
    "active": True,
}
_WATCHING: Final = {
    "status": "on",
    "notice_shown": "all-hands, 2026-11-20",
    "agent": AGENT,
    "per_day": 1,
    "asked_by": None,
}

AUTHORITY_REQUESTS: Final[dict[tuple[str, str], dict[str, Any]]] = {
    ("POST", "/v1/admin/agents"): {
        "name": "my-agent",
        "owner": PERSON,
        "use_case": "retail-care",
        "tier_max": 3,
        "tools": ["orders.get", "orders.refund"],
        "key": _JWK,
    },
    ("POST", f"{_AGENTS}/grant"): {"tools": ["orders.refund"]},
    ("POST", f"{_AGENTS}/ungrant"): {"tools": ["orders.refund"]},
    ("POST", f"{_AGENTS}/suspend"): {"reason": "looked into"},
    ("POST", f"{_AGENTS}/revoke"): {"reason": "end of the trial"},
    ("POST", "/v1/admin/people"): {
        "name": "erin",
        "roles": ["supervisor"],
        "approval_limits": {"USD": 200_000},
        "key": _JWK,
    },
    ("POST", f"{_CHANNELS}/{{channel_id}}/suspend"): {"reason": "its key was lost"},
    ("POST", f"{_CHANNELS}/{{channel_id}}/key"): {"key": _JWK, "reason": "rotated"},
    ("POST", f"{_CANARIES}/on"): {
        "notice_shown": "all-hands, 2026-11-20",
        "agent": AGENT,
        "per_day": 1,
    },
    ("POST", f"{_CANARIES}/off"): {"reason": "end of the trial"},
    ("POST", f"{_CANARIES}/rights/{{person_id}}/give-back"): {"reason": "talked over"},
    ("POST", "/v1/admin/restore/agree"): {
        "reason": "compared with the edge's journal",
        "sent": [],
    },
}
AUTHORITY_ANSWERS: Final[dict[tuple[str, str, str], Any]] = {
    ("GET", "/v1/admin/me", "200"): _PERSON,
    ("GET", "/v1/admin/agents", "200"): {"agents": [_AGENT]},
    ("POST", "/v1/admin/agents", "202"): _AGENT_CHANGE,
    ("GET", _AGENTS, "200"): _AGENT
    | {
        "keys": [_KEY_USED],
        "instances": [
            {
                "id": "f88ead4d-f244-858e-b020-253ea839642e",
                "jkt": KID,
                "first_seen": _AT,
                "last_seen": _AT,
                "tokens": 12,
            }
        ],
    },
    **{
        ("POST", f"{_AGENTS}/{verb}", "200"): _AGENT | {"revision": 2, "status": status}
        for verb, status in (
            ("ungrant", "active"),
            ("ceiling", "active"),
            ("suspend", "suspended"),
            ("revoke", "revoked"),
            ("keys/{kid}/drop", "active"),
            ("undelegate", "active"),
            ("unfederate", "active"),
        )
    },
    **{
        ("POST", f"{_AGENTS}/{verb}", "202"): _AGENT_CHANGE | {"what": what}
        for verb, what in (
            ("grant", "agent.grant"),
            ("resume", "agent.resume"),
            ("ceiling", "agent.ceiling"),
            ("keys", "agent.add_key"),
            ("delegate", "agent.delegate"),
            ("federate", "agent.federate"),
        )
    },
    ("POST", f"{_AGENTS}/instances/{{instance_id}}/revoke", "200"): {
        "id": "f88ead4d-f244-858e-b020-253ea839642e",
        "status": "revoked",
    },
    ("GET", "/v1/admin/people", "200"): {"people": [_PERSON]},
    ("POST", "/v1/admin/people", "202"): _PERSON_CHANGE,
    ("GET", _PEOPLE, "200"): _PERSON | {"keys": [_KEY_USED]},
    ("POST", f"{_PEOPLE}/suspend", "200"): _PERSON | {"status": "suspended"},
    ("POST", f"{_PEOPLE}/roles", "200"): _PERSON | {"roles": [], "revision": 2},
    ("POST", f"{_PEOPLE}/limits", "200"): _PERSON | {"revision": 2},
    ("POST", f"{_PEOPLE}/remove", "200"): _PERSON | {"status": "removed"},
    **{
        ("POST", f"{_PEOPLE}/{verb}", "202"): _PERSON_CHANGE | {"what": what}
        for verb, what in (
            ("resume", "person.resume"),
            ("roles", "person.roles"),
            ("limits", "person.limits"),
            ("suspend", "person.suspend"),
            ("remove", "person.remove"),
        )
    },
    ("GET", "/v1/admin/changes", "200"): {"changes": [_AGENT_CHANGE]},
    ("GET", "/v1/admin/changes/{change_id}", "200"): _AGENT_CHANGE,
    ("POST", "/v1/admin/changes/{change_id}/approve", "200"): _AGENT_CHANGE
    | {"status": "approved", "ended_by": PERSON},
    ("POST", "/v1/admin/changes/{change_id}/reject", "200"): _AGENT_CHANGE
    | {"status": "rejected", "ended_by": PERSON},
    ("GET", _USE_CASES, "200"): {"use_cases": [_USE_CASE]},
    ("POST", f"{_USE_CASES}/{{use_case}}/add-tools", "200"): _USE_CASE,
    ("POST", f"{_USE_CASES}/{{use_case}}/drop-tools", "200"): _USE_CASE,
    ("GET", _CHANNELS, "200"): {"channels": [_CHANNEL]},
    ("POST", f"{_CHANNELS}/{{channel_id}}/suspend", "200"): _CHANNEL
    | {"status": "suspended", "revision": 2},
    ("GET", "/v1/admin/keys", "200"): {
        "keys": [_SIGNING_KEY],
        "own": [
            {
                "name": "entry",
                "kid": KID,
                "algorithm": "ES256",
                "made_at": _AT,
                "age_days": 12,
                "too_old": False,
            }
        ],
    },
    ("POST", "/v1/admin/keys/rotate", "200"): {"keys": [_SIGNING_KEY]},
    ("POST", "/v1/admin/keys/{kid}/compromised", "200"): {"keys": [_SIGNING_KEY]},
    ("GET", _NOTICES, "200"): {"subscriptions": [_SUBSCRIPTION]},
    ("POST", _NOTICES, "201"): _SUBSCRIPTION,
    ("POST", f"{_NOTICES}/{{subscription_id}}/remove", "200"): _SUBSCRIPTION
    | {"active": False},
    ("POST", f"{_NOTICES}/{{subscription_id}}/test", "200"): {
        "subscription": "0197a000-0000-7000-8000-0000000000f1",
        "state": "taken",
        "status": 202,
        "code": "",
    },
    ("POST", "/v1/notices/reject", "200"): {
        "approval": "0197a000-0000-7000-8000-0000000000e2",
        "vote": "0197a000-0000-7000-8000-0000000000e8",
        "state": "rejected",
    },
    ("POST", f"{_CANARIES}/on", "200"): _WATCHING,
    ("POST", f"{_CANARIES}/off", "200"): _WATCHING | {"status": "off"},
    ("GET", "/.well-known/oauth-protected-resource", "200"): {
        "resource": f"{_ISSUER}/v1",
        "authorization_servers": [_ISSUER],
        "bearer_methods_supported": ["header"],
        "dpop_signing_alg_values_supported": ["ES256"],
        "dpop_bound_access_tokens_required": False,
        "authorization_details_types_supported": ["counterfoil"],
        "resource_name": "Counterfoil",
    },
    ("GET", "/oauth/jwks", "200"): {
        "keys": [_JWK | {"kid": KID, "alg": "ES256", "use": "sig"}]
    },
}
