"""Discovery: what clients read before they have a token."""

from __future__ import annotations

import pytest
from authlib.oauth2.rfc8414 import AuthorizationServerMetadata
from joserfc import jwt
from joserfc.jwk import KeySet
from mcp.shared.auth import OAuthMetadata, ProtectedResourceMetadata

from broker.core.jwk import Algorithm
from tests.support.identities import INTERACTION_ID, ISSUER, TOKEN_KEY


async def test_server_metadata_is_read_by_two_foreign_libraries(door):
    answer = await door.http.get("/.well-known/oauth-authorization-server")
    body = answer.json()
    assert body["issuer"] == ISSUER
    assert body["token_endpoint_auth_methods_supported"] == ["private_key_jwt"]
    AuthorizationServerMetadata(body).validate()
    assert str(OAuthMetadata.model_validate(body).issuer) == ISSUER


async def test_metadata_and_keys_may_be_kept_for_five_minutes(door):
    for path in (
        "/.well-known/oauth-authorization-server",
        "/.well-known/openid-configuration",
        "/.well-known/oauth-protected-resource/v1",
        "/oauth/jwks",
    ):
        answer = await door.http.get(path)
        assert answer.status_code == 200
        assert answer.headers["cache-control"] == "public, max-age=300"


async def test_the_key_set_holds_public_halves_only_and_verifies_a_token(door):
    body = (await door.http.get("/oauth/jwks")).json()
    assert [key["kid"] for key in body["keys"]] == [TOKEN_KEY.kid]
    assert all("d" not in key for key in body["keys"])
    assert body["keys"][0]["alg"] == Algorithm.ES256

    token = await door.token()
    keys = KeySet.import_key_set(body)
    assert jwt.decode(token, keys, algorithms=["ES256"]).claims["iss"] == ISSUER


@pytest.mark.parametrize(
    ("suffix", "resource"),
    [
        ("", "/v1"),
        ("/v1", "/v1"),
        ("/mcp", "/mcp"),
        (f"/mcp/{INTERACTION_ID}", f"/mcp/{INTERACTION_ID}"),
        ("/console", "/console"),
    ],
)
async def test_a_resource_says_who_issues_tokens_for_it(door, suffix, resource):
    answer = await door.http.get(f"/.well-known/oauth-protected-resource{suffix}")
    body = answer.json()
    assert body["resource"] == ISSUER + resource
    assert body["authorization_servers"] == [ISSUER]
    # A client that copies all scopes would ask for what it does not need.
    assert "scopes_supported" not in body
    read = ProtectedResourceMetadata.model_validate(body)
    assert str(read.resource) == ISSUER + resource


@pytest.mark.parametrize("path", ["/v2", "/mcp/not-an-id", "/v1/", "/oauth/token"])
async def test_what_is_no_resource_has_no_metadata(door, path):
    answer = await door.http.get(f"/.well-known/oauth-protected-resource{path}")
    assert answer.status_code == 404


async def test_the_authorization_endpoint_refuses_everything(door):
    answer = await door.http.get("/oauth/authorize?response_type=code&client_id=x")
    assert answer.status_code == 400
    assert answer.json()["error"] == "invalid_request"
