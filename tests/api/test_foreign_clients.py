"""Unmodified clients and verifiers of others: they get tokens, and read them alike."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from typing import Any

import httpx2
import jwt as pyjwt
import pytest
import pytest_asyncio
from authlib.integrations.httpx_client import AsyncOAuth2Client
from authlib.oauth2.rfc7523 import PrivateKeyJWT
from joserfc import jwt as joserfc_jwt
from joserfc.jwk import ECKey, KeySet
from mcp.client.auth.extensions.client_credentials import SignedJWTParameters

from broker.core.jwk import private_to_jwk
from tests.support.door import ASSERTION_TYPE, Times, application, open_door
from tests.support.identities import (
    AGENT,
    API,
    INTERACTION_ID,
    ISSUER,
    TOKEN_KEY,
    key_of,
)

DETAILS = json.dumps([{"type": "counterfoil", "interaction": INTERACTION_ID}])


class Now(Times):
    """The host's clock: foreign clients know no other."""

    def now(self) -> datetime:
        return datetime.now(UTC)


@pytest_asyncio.fixture
async def door():
    async with open_door(times=Now()) as opened:
        yield opened


def private(name: str = "agent") -> ECKey:
    jwk: dict[str, Any] = dict(private_to_jwk(key_of(name)))
    del jwk["use"]
    return ECKey.import_key(jwk)


async def test_authlibs_client_gets_a_bearer_token_for_one_interaction(door):
    transport = httpx2.ASGITransport(application())
    client = AsyncOAuth2Client(
        AGENT,
        private(),
        token_endpoint_auth_method="private_key_jwt",
        transport=transport,
    )
    client.register_client_auth_method(
        PrivateKeyJWT(
            alg="ES256", claims={"aud": ISSUER, "exp": int(time.time()) + 120}
        )
    )
    async with client:
        token = await client.fetch_token(
            f"{ISSUER}/oauth/token",
            grant_type="client_credentials",
            resource=API,
            authorization_details=DETAILS,
        )
        assert token["token_type"] == "Bearer"
        answer = await client.get(f"{ISSUER}/v1/tools")
    assert answer.json() == {
        "subject": AGENT,
        "proof": False,
        "tools": [],
        "interaction": INTERACTION_ID,
    }


async def test_the_official_mcp_clients_assertion_is_accepted(door):
    pem = private().as_pem(private=True).decode()
    make = SignedJWTParameters(
        issuer=AGENT, subject=AGENT, signing_key=pem, signing_algorithm="ES256"
    ).create_assertion_provider()
    form = {
        "grant_type": "client_credentials",
        "client_assertion_type": ASSERTION_TYPE,
        "client_assertion": await make(ISSUER),
        "resource": f"{ISSUER}/mcp/{INTERACTION_ID}",
    }
    answer = await door.ask(form, proof=None)
    assert answer.json()["token_type"] == "Bearer"


async def test_a_token_reads_alike_in_two_other_libraries(door):
    token = await door.token()
    keys = (await door.http.get("/oauth/jwks")).json()
    claims = joserfc_jwt.decode(
        token, KeySet.import_key_set(keys), algorithms=["ES256"]
    ).claims
    key = pyjwt.PyJWK(keys["keys"][0]).key
    other = pyjwt.decode(token, key, algorithms=["ES256"], audience=API)
    assert claims == other
    assert pyjwt.get_unverified_header(token) == {
        "alg": "ES256",
        "kid": TOKEN_KEY.kid,
        "typ": "at+jwt",
    }


@pytest.mark.parametrize("library", ["pyjwt", "joserfc"])
async def test_proofs_and_assertions_of_other_libraries_are_accepted(door, library):
    now = int(time.time())
    public = private("instance").as_dict(private=False)
    proof_head = {
        "typ": "dpop+jwt",
        "jwk": {k: public[k] for k in public if k != "kid"},
    }
    proof = {"jti": "p", "htm": "POST", "htu": f"{ISSUER}/oauth/token", "iat": now}
    assertion = {
        "iss": AGENT,
        "sub": AGENT,
        "aud": ISSUER,
        "jti": "a",
        "exp": now + 60,
    }

    def signed(head: dict[str, Any], claims: dict[str, Any], name: str) -> str:
        if library == "pyjwt":
            material = key_of(name).material
            return pyjwt.encode(claims, material, algorithm="ES256", headers=head)
        text: str = joserfc_jwt.encode({"alg": "ES256"} | head, claims, private(name))
        return text

    form = door.form(client_assertion=signed({}, assertion, "agent"))
    answer = await door.ask(form, proof=signed(proof_head, proof, "instance"))
    assert answer.status_code == 200, answer.text
    assert answer.json()["token_type"] == "DPoP"
