"""dev, staging and prod never cross: neither keys, nor tokens, nor audiences."""

from __future__ import annotations

import pytest

from broker.core.jws import sign
from broker.core.words.identity import ACCESS_TOKEN_TYP
from tests.support.door import claims_in
from tests.support.identities import ISSUER, TOKEN_KEY, key_of

STAGING = "https://staging.test"


@pytest.mark.control("6.2")
@pytest.mark.parametrize(
    "changes",
    [
        {"env": "staging"},
        {"env": "prod"},
        {"tenant": "another"},
        {"iss": STAGING},
        {"aud": f"{STAGING}/v1"},
    ],
)
async def test_a_token_of_another_environment_opens_nothing_even_by_our_own_key(
    door, changes
):
    token = await door.token()
    assert (await door.call("GET", "/v1/tools", token)).status_code == 200
    moved = sign(claims_in(token) | changes, key=TOKEN_KEY, typ=ACCESS_TOKEN_TYP)
    assert (await door.call("GET", "/v1/tools", moved)).status_code == 401


async def test_a_token_by_another_environments_key_opens_nothing_here(door):
    claims = claims_in(await door.token())
    stray = sign(claims, key=key_of("staging token"), typ=ACCESS_TOKEN_TYP)
    assert (await door.call("GET", "/v1/tools", stray)).status_code == 401


async def test_what_proves_an_agent_to_one_environment_proves_nothing_to_another(door):
    for_staging = door.assertion(aud=STAGING)
    answer = await door.ask(door.form(client_assertion=for_staging))
    assert answer.json()["error"] == "invalid_client"
    # Nor may a client ask here for a token that another environment takes.
    answer = await door.ask(door.form(resource=f"{STAGING}/v1"))
    assert answer.json()["error"] == "invalid_target"
    assert ISSUER != STAGING


async def test_revoking_everything_in_one_environment_is_about_that_one_alone(door):
    token = await door.token()
    epochs = claims_in(token)["epochs"]
    assert "global:dev" in epochs
    assert not any(scope.startswith("global:") for scope in {*epochs} - {"global:dev"})
    door.registry.moved["global:staging"] = 7
    assert (await door.call("GET", "/v1/tools", token)).status_code == 200
    door.registry.moved["global:dev"] = 1
    assert (await door.call("GET", "/v1/tools", token)).status_code == 401
