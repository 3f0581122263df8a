"""Build what identities show: keys, assertions, proofs and tokens, right or broken.

Everything is deterministic: a key is made from a word, the clock is a constant. What a
test wants to be wrong it says by name; the rest stays right.
"""

from __future__ import annotations

import json
from base64 import urlsafe_b64encode
from datetime import UTC, datetime, timedelta
from hashlib import sha384
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256

from broker.core.authenticate import (
    Target,
    Trust,
    access_token_claims,
    instance_id,
    revocation_scopes,
)
from broker.core.identity.assertions import assertion_claims
from broker.core.identity.dpop import proof_claims, proof_key
from broker.core.jwk import Algorithm, PrivateKey, private_from_seed
from broker.core.jws import sign
from broker.core.words.identity import ACCESS_TOKEN_TYP, AccessToken
from broker.core.words.subject import Epochs, Grant, SubjectKind

NOW = datetime(2026, 11, 23, 12, 0, 0, tzinfo=UTC)
NOW_S = int(NOW.timestamp())
ISSUER = "http://127.0.0.1:8400"
API = f"{ISSUER}/v1"
TENANT, ENVIRONMENT = "demo", "dev"

AGENT_ID = "0197a000-0000-7000-8000-00000000a001"
AGENT = f"agent:{AGENT_ID}"
OTHER_AGENT_ID = "0197a000-0000-7000-8000-00000000a002"
PERSON_ID = "0197a000-0000-7000-8000-0000000000b1"
CHANNEL_ID = "0197a000-0000-7000-8000-0000000000c1"
INTERACTION_ID = "0197a000-0000-7000-8000-0000000000e1"


def key_of(word: str, algorithm: Algorithm = Algorithm.ES256) -> PrivateKey:
    """Return the key that belongs to a word: the same in every run."""
    return private_from_seed(sha384(word.encode()).digest(), algorithm=algorithm)


AGENT_KEY = key_of("agent")
INSTANCE_KEY = key_of("instance")
TOKEN_KEY = key_of("token")
CHANNEL_KEY = key_of("channel")


def b64(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def raw_signature(data: bytes, key: PrivateKey) -> bytes:
    """Sign with the key's own algorithm, in the form of RFC 7518."""
    if isinstance(key.material, Ed25519PrivateKey):
        return key.material.sign(data)
    r, s = decode_dss_signature(key.material.sign(data, ec.ECDSA(SHA256())))
    return r.to_bytes(32, "big") + s.to_bytes(32, "big")


def compact(
    header: dict[str, Any] | bytes,
    claims: dict[str, Any] | bytes,
    key: PrivateKey,
) -> str:
    """Sign any header and payload, also ones that no library would write."""
    head = header if isinstance(header, bytes) else json.dumps(header).encode()
    body = claims if isinstance(claims, bytes) else json.dumps(claims).encode()
    signed = f"{b64(head)}.{b64(body)}"
    return f"{signed}.{b64(raw_signature(signed.encode(), key))}"


def edited(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Return a dict with changes; a change to ``...`` removes the name."""
    merged = base | changes
    return {name: value for name, value in merged.items() if value is not ...}


def assertion(
    *,
    key: PrivateKey = AGENT_KEY,
    client: str = AGENT,
    jti: str = "assertion-1",
    now: datetime = NOW,
    header: dict[str, Any] | None = None,
    **claims: Any,
) -> str:
    """Return a client assertion; keyword arguments replace or (...) remove claims."""
    base = assertion_claims(client, issuer=ISSUER, jti=jti, now=now)
    head = edited({"alg": key.algorithm.value, "kid": key.kid}, header or {})
    return compact(head, edited(base, claims), key)


def proof(
    *,
    key: PrivateKey = INSTANCE_KEY,
    method: str = "GET",
    url: str = f"{API}/tools",
    token: str | None = None,
    now: datetime = NOW,
    header: dict[str, Any] | None = None,
    **claims: Any,
) -> str:
    """Return a DPoP proof; keyword arguments replace or (...) remove claims."""
    base = proof_claims(method=method, url=url, jti="proof-1", now=now, token=token)
    head = {
        "typ": "dpop+jwt",
        "alg": key.algorithm.value,
        "jwk": proof_key(key.public()),
    }
    return compact(edited(head, header or {}), edited(base, claims), key)


def access_token(**changes: Any) -> AccessToken:
    """Return a bound token of the agent; keyword arguments replace its fields."""
    jkt = changes.get("jkt", INSTANCE_KEY.kid)
    instance = instance_id(AGENT, jkt=jkt or AGENT_KEY.kid)
    scopes = revocation_scopes(
        AGENT, environment=ENVIRONMENT, instance=instance, grant="grant-1"
    )
    fields: dict[str, Any] = {
        "kind": SubjectKind.AGENT,
        "subject_id": AGENT_ID,
        "audience": API,
        "token_id": "token-1",
        "grant_id": "grant-1",
        "instance_id": instance,
        "client_kid": AGENT_KEY.kid,
        "jkt": INSTANCE_KEY.kid,
        "tenant": TENANT,
        "environment": ENVIRONMENT,
        "issued_at": NOW,
        "expires_at": NOW + timedelta(seconds=300),
        "epochs": Epochs(tuple((scope, 0) for scope in sorted(scopes))),
        "grant": Grant(),
    }
    return AccessToken(**fields | changes)


def signed_token(
    token: AccessToken | None = None,
    *,
    key: PrivateKey = TOKEN_KEY,
    typ: str = ACCESS_TOKEN_TYP,
    **claims: Any,
) -> str:
    """Return a token as text; keyword arguments replace or (...) remove claims."""
    base = access_token_claims(token or access_token(), issuer=ISSUER)
    return sign(edited(base, claims), key=key, typ=typ)


def trust(*audiences: str) -> Trust:
    """Return what tokens are compared with; the audience is the tool API by default."""
    return Trust(
        issuer=ISSUER,
        audiences=frozenset(audiences or {API}),
        keys={TOKEN_KEY.kid: TOKEN_KEY.public()},
        tenant=TENANT,
        environment=ENVIRONMENT,
    )


def target(method: str = "GET", path: str = "/v1/tools") -> Target:
    """Return a call of ours."""
    return Target(method, frozenset({ISSUER}), path)
