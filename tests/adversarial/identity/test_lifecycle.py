"""Catalogue F to J, what stands nowhere else: answers, metadata, clocks, lifecycles."""

from __future__ import annotations

import asyncio

import pytest

from broker.core.jwk import public_to_jwk
from broker.core.words.entry import EntryKind
from tests.support.door import claims_in, slots
from tests.support.identities import AGENT_ID, ISSUER, OTHER_AGENT_ID, key_of


async def canary() -> tuple[asyncio.Server, list[int], str]:
    """Return a server on loopback that only counts who connects."""
    seen: list[int] = []

    async def connected(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(1)
        writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    return server, seen, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/me"


# ------------------------------------------------------------------ F: introspection


@pytest.mark.parametrize(
    "accept", ["application/token-introspection+jwt", "application/jwt", "text/html"]
)
async def test_introspection_is_json_whatever_else_is_asked_for(door, accept):
    token = await door.token()
    answer = await door.ask(
        door.form(token=token), proof=None, path="/oauth/introspect", accept=accept
    )
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.json()["active"] is True


@pytest.mark.parametrize("path", ["/oauth/introspect", "/oauth/revoke"])
@pytest.mark.parametrize("hint", ["refresh_token", "x" * 900, "access_token"])
async def test_a_token_type_hint_decides_nothing(door, path, hint):
    token = await door.token()
    form = door.form(token=token, token_type_hint=hint)
    assert (await door.ask(form, proof=None, path=path)).status_code == 200


# ---------------------------------------------------------------- G: metadata, issuer


async def test_a_client_id_that_is_an_address_is_fetched_by_nobody(door):
    """There are no client id metadata documents here, so nothing to be sent to."""
    server, seen, url = await canary()
    async with server:
        for client in (url, f"{url}#x", "http://169.254.169.254/latest", "file:///x"):
            answers = [
                await door.ask(door.form(client_id=client)),
                await door.ask(
                    door.form(client_assertion=door.assertion(client, client_id=client))
                ),
            ]
            assert {answer.status_code for answer in answers} == {400}
            assert {a.json()["error"] for a in answers} == {"invalid_client"}
    assert seen == []


async def test_metadata_names_one_issuer_under_every_address_and_host(door):
    for path in ("oauth-authorization-server", "openid-configuration"):
        for host in ("evil.example", "127.0.0.1:8401", "[::1]:8400"):
            headers = {"host": host, "x-forwarded-host": "evil.example"}
            found = await door.http.get(f"/.well-known/{path}", headers=headers)
            assert found.json()["issuer"] == ISSUER
            assert "evil" not in found.text
            assert "registration_endpoint" not in found.json()


# -------------------------------------------------------------------------- H: time


async def test_a_clock_that_steps_back_makes_nothing_new_that_was_used(door):
    form, proof = door.form(), door.proof()
    assert (await door.ask(form, proof=proof)).status_code == 200
    for step_s in (-5, 3, 50, -48, 5):
        door.times.pass_(step_s)
        again = await door.ask(form, proof=door.proof())
        assert again.json()["error"] == "invalid_client"
        other = await door.ask(door.form(), proof=proof)
        assert other.json()["error"] == "invalid_dpop_proof"


async def test_a_clock_that_steps_ahead_ends_tokens_and_back_does_not_lengthen_them(
    door,
):
    token = await door.token()
    door.times.pass_(299)
    assert (await door.call("GET", "/v1/tools", token)).status_code == 200
    door.times.pass_(1)
    assert (await door.call("GET", "/v1/tools", token)).status_code == 401
    door.times.pass_(-330)
    # Issued in the future now: neither good nor, later, good for longer.
    assert (await door.call("GET", "/v1/tools", token)).status_code == 401
    assert claims_in(token)["exp"] - claims_in(token)["iat"] == 300


# --------------------------------------------------------------------- I: lifecycle


async def test_one_revoked_instance_leaves_the_rest_of_the_fleet_alone(door):
    first = await door.token()
    other = await door.ask(door.form(), proof=door.proof(key=key_of("copy 2")))
    second = str(other.json()["access_token"])
    ended = f"instance:{claims_in(first)['ins']}"
    await door.registry.revoke([ended], door.logged(EntryKind.TOKEN)[0])
    assert (await door.call("GET", "/v1/tools", first)).status_code == 401
    url = f"{ISSUER}/v1/tools"
    proof = door.proof("GET", url, key=key_of("copy 2"), token=second)
    answer = await door.call("GET", "/v1/tools", second, proof=proof)
    assert answer.status_code == 200


async def test_the_key_of_an_ended_instance_gets_no_token_again(door):
    first = await door.token()
    ended = f"instance:{claims_in(first)['ins']}"
    await door.registry.revoke([ended], door.logged(EntryKind.TOKEN)[0])
    again = await door.ask()
    assert (again.status_code, again.json()["error"]) == (400, "invalid_client")
    # The rest of the fleet has the same key to authenticate with, and others to prove.
    other = await door.ask(door.form(), proof=door.proof(key=key_of("copy 2")))
    assert other.status_code == 200


async def test_a_token_of_the_earlier_key_is_active_while_both_keys_are(door):
    """Calls and introspection agree through a rotation, and after it."""
    token = await door.token()
    await door.change("agent", AGENT_ID, keys=slots("agent", "next"))
    fresh = door.form(client_assertion=door.assertion(key=key_of("next")), token=token)
    looked = await door.ask(fresh, proof=None, path="/oauth/introspect")
    assert looked.json()["active"] is True
    assert (await door.call("GET", "/v1/tools", token)).status_code == 200
    await door.change("agent", AGENT_ID, keys=slots("next"))
    fresh = door.form(client_assertion=door.assertion(key=key_of("next")), token=token)
    looked = await door.ask(fresh, proof=None, path="/oauth/introspect")
    assert looked.json() == {"active": False}
    assert (await door.call("GET", "/v1/tools", token)).status_code == 401


@pytest.mark.parametrize("status", ["suspended", "revoked"])
async def test_an_agent_that_is_not_active_neither_gets_nor_uses_a_token(door, status):
    token = await door.token()
    await door.change("agent", AGENT_ID, status=status)
    assert (await door.call("GET", "/v1/tools", token)).status_code == 401
    assert (await door.ask()).json()["error"] == "invalid_client"
    form = door.form(
        client_assertion=door.assertion(f"agent:{OTHER_AGENT_ID}", key=key_of("other")),
        token=token,
    )
    looked = await door.ask(form, proof=None, path="/oauth/introspect")
    assert looked.json() == {"active": False}


# -------------------------------------------------------------------------- J: logs


@pytest.mark.parametrize("name", ["a\r\nb", "a\x1b[31mb", "a\u2028b", "a\x00b"])
async def test_a_name_that_could_forge_a_line_is_not_registered(door, name):
    body = {
        "name": name,
        "owner": "0197a000-0000-7000-8000-0000000000b4",
        "use_case": "retail-care",
        "tier_max": 1,
        "tools": ["orders.get"],
        "key": public_to_jwk(key_of("fresh").public()),
    }
    token = await door.token("carol")
    answer = await door.call("POST", "/v1/admin/agents", token, json=body)
    assert answer.status_code == 422
    assert "a name holds no line breaks" in answer.text
    assert name not in answer.text
