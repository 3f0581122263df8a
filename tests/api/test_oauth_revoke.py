"""Revocation and introspection: for the holder, quietly, and at once."""

from __future__ import annotations

import pytest

from broker.core.words.entry import EntryKind
from tests.support.door import ASSERTION_TYPE, WORKER_ID, claims_in
from tests.support.identities import OTHER_AGENT_ID, key_of

WORKER = f"service:{WORKER_ID}"
OTHER = f"agent:{OTHER_AGENT_ID}"


def form(door, token, *, client=None, key=None, **more):
    assertion = door.assertion(client, key=key) if client else door.assertion()
    return {
        "client_assertion_type": ASSERTION_TYPE,
        "client_assertion": assertion,
        "token": token,
    } | more


async def revoke(door, token, **more):
    return await door.ask(form(door, token, **more), path="/oauth/revoke", proof=None)


async def introspect(door, token, **more):
    body = form(door, token, **more)
    return await door.ask(body, path="/oauth/introspect", proof=None)


async def works(door, token):
    return (await door.call("GET", "/v1/tools", token)).status_code == 200


async def test_a_revoked_token_is_refused_at_once_and_the_next_one_works(door):
    token, other = await door.token(), await door.token()
    assert await works(door, token)
    answer = await revoke(door, token)
    assert (answer.status_code, answer.json()) == (200, {})
    assert not await works(door, token)
    assert await works(door, other)
    (entry,) = door.logged(EntryKind.REVOCATION)
    assert entry.detail["scopes"] == [f"grant:{claims_in(token)['gid']}"]


@pytest.mark.parametrize("token", ["", "x", "a.b.c", "\u00e4"])
async def test_revoking_what_is_no_token_succeeds_and_changes_nothing(door, token):
    answer = await revoke(door, token)
    assert (answer.status_code, answer.json()) == (200, {})
    assert door.registry.moved == {}


async def test_another_clients_token_stays_as_it_is_and_the_answer_does_not_tell(door):
    token = await door.token()
    answer = await revoke(
        door, token, client=OTHER, key=key_of("other"), token_type_hint="refresh_token"
    )
    assert (answer.status_code, answer.json()) == (200, {})
    assert await works(door, token)


async def test_the_holder_and_our_services_learn_about_a_token_and_nobody_else(door):
    token = await door.token()
    for who in ({}, {"client": WORKER, "key": key_of("worker")}):
        body = (await introspect(door, token, **who)).json()
        assert body["active"]
        assert body["sub"] == claims_in(token)["sub"]
        assert body["token_type"] == "DPoP"
    body = await introspect(door, token, client=OTHER, key=key_of("other"))
    assert body.json() == {"active": False}


async def test_a_token_that_ended_or_was_revoked_is_inactive_and_nothing_more(door):
    ended = await door.token()
    door.times.pass_(300)
    assert (await introspect(door, ended)).json() == {"active": False}
    revoked = await door.token()
    await revoke(door, revoked)
    assert (await introspect(door, revoked)).json() == {"active": False}
    suspended = await door.token()
    await door.change("agent", claims_in(suspended)["sub"][6:], status="suspended")
    asked = await introspect(door, suspended, client=WORKER, key=key_of("worker"))
    assert asked.json() == {"active": False}


@pytest.mark.parametrize("path", ["/oauth/revoke", "/oauth/introspect"])
async def test_who_asks_must_authenticate_and_only_once_per_assertion(door, path):
    token = await door.token()
    answer = await door.ask({"token": token}, path=path, proof=None)
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_client")
    body = form(door, token)
    assert (await door.ask(body, path=path, proof=None)).status_code == 200
    answer = await door.ask(body, path=path, proof=None)
    assert answer.json()["error"] == "invalid_client"


async def test_an_assertion_used_for_a_token_is_used_up_for_the_other_endpoints(door):
    sent = door.form()
    token = (await door.ask(sent)).json()["access_token"]
    body = form(door, token) | {"client_assertion": sent["client_assertion"]}
    for path in ("/oauth/revoke", "/oauth/introspect"):
        answer = await door.ask(body, path=path, proof=None)
        assert answer.json().get("error") == "invalid_client"


async def test_answers_about_tokens_are_kept_by_nobody(door):
    token = await door.token()
    for answer in (await introspect(door, token), await revoke(door, token)):
        assert answer.headers["cache-control"] == "no-store"
