"""The thin client: gets tokens, proves its key, and repeats what is worth repeating."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from broker.client.answers import RefusedError, UnreachableError
from broker.client.oauth import ATTEMPTS_MAX, RENEW_BEFORE_S
from broker.client.person import PersonClient
from broker.client.session import Session
from broker.core.identity.dpop import NONCE_SETTLE_S
from broker.core.jwk import Algorithm, public_to_jwk
from broker.core.words.entry import EntryKind
from tests.support.door import PEOPLE, Conversations
from tests.support.fake_registry import FakeMemory
from tests.support.identities import (
    AGENT,
    AGENT_ID,
    INTERACTION_ID,
    ISSUER,
    key_of,
)


def session(door, **more) -> Session:
    settings: dict[str, Any] = {"client_id": AGENT, "key": key_of("agent")} | more
    return Session(ISSUER, http=door.http, now=door.times.now, **settings)


async def test_a_call_brings_a_token_and_a_proof_of_its_key(door):
    answer = await session(door).call("GET", "/v1/tools", params={"a": "1"})
    assert answer.checked() == {
        "subject": AGENT,
        "proof": True,
        "tools": [],
        "interaction": "",
    }


async def test_one_token_serves_many_calls_until_shortly_before_it_ends(door):
    client = session(door)
    for _ in range(3):
        assert (await client.call("GET", "/v1/tools")).ok
    assert len(door.logged(EntryKind.TOKEN)) == 1
    door.times.pass_(300 - RENEW_BEFORE_S - 1)
    assert (await client.call("GET", "/v1/tools")).ok
    assert len(door.logged(EntryKind.TOKEN)) == 1
    door.times.pass_(1)
    assert (await client.call("GET", "/v1/tools")).ok
    assert len(door.logged(EntryKind.TOKEN)) == 2


async def test_an_ed25519_key_serves_as_well(door):
    key = key_of("agent", Algorithm.EDDSA)

    jwk = {"kid": key.kid, "jwk": public_to_jwk(key.public())}
    await door.change("agent", AGENT_ID, keys=[jwk])
    assert (await session(door, key=key).call("GET", "/v1/tools")).ok


async def test_a_token_can_be_asked_for_less(door):
    details = [
        {
            "type": "counterfoil",
            "tools": ["orders.get"],
            "interaction": INTERACTION_ID,
        }
    ]
    client = session(door, details=details)
    body = (await client.call("GET", "/v1/tools")).checked()
    assert body["tools"] == ["orders.get"]
    assert body["interaction"] == INTERACTION_ID


async def test_a_nonce_is_learned_and_used_from_then_on(door):
    client = session(door)
    assert (await client.call("GET", "/v1/tools")).ok
    door.memory.forget()
    assert (await client.call("GET", "/v1/tools")).ok
    assert (await client.call("GET", "/v1/tools")).ok
    door.memory.forget()
    fresh = session(door)
    assert (await fresh.call("GET", "/v1/tools")).ok


async def test_a_nonce_is_dropped_before_the_server_would_refuse_it(door):
    client = session(door)
    await client.call("GET", "/v1/tools")
    door.memory.forget()
    assert (await client.call("GET", "/v1/tools")).ok
    door.times.pass_(NONCE_SETTLE_S)
    refused = []

    class Listening(FakeMemory):
        async def refresh(self):
            refused.append(True)
            return await FakeMemory.refresh(self)

    door.memory.__class__ = Listening
    assert (await client.call("GET", "/v1/tools")).ok
    assert refused == []


async def test_a_nonce_that_moves_for_ever_ends_in_an_answer(door):
    client = session(door)
    await client.call("GET", "/v1/tools")
    sent = 0

    class Restless(FakeMemory):
        async def rule(self):
            nonlocal sent
            sent += 1
            self.epoch += 1
            self.changed_at = self.now()
            return await FakeMemory.refresh(self)

    door.memory.__class__ = Restless
    with pytest.raises(RefusedError) as caught:
        await client.call("GET", "/v1/tools")
    assert caught.value.code == "use_dpop_nonce"
    assert sent <= 3 * ATTEMPTS_MAX


async def test_a_revoked_agent_is_refused_after_one_try_for_a_new_token(door):
    client = session(door)
    assert (await client.call("GET", "/v1/tools")).ok
    await door.change("agent", AGENT_ID, status="revoked")
    with pytest.raises(RefusedError) as caught:
        await client.call("GET", "/v1/tools")
    assert caught.value.code == "invalid_client"


async def test_a_token_that_was_revoked_is_replaced_once(door):
    client = session(door)
    assert (await client.call("GET", "/v1/tools")).ok
    door.registry.moved[AGENT] = 1
    assert (await client.call("GET", "/v1/tools")).ok
    assert len(door.logged(EntryKind.TOKEN)) == 2


async def test_a_person_signs_in_with_their_key_and_sees_who_they_are(door):
    carol = PersonClient(
        ISSUER,
        client_id=f"person:{PEOPLE['carol'][0]}",
        key=key_of("carol"),
        http=door.http,
        now=door.times.now,
    )
    assert (await carol.me())["name"] == "carol"
    assert {one["name"] for one in await carol.people()} == {*PEOPLE}


async def test_a_refusal_says_code_detail_and_what_to_do(door):
    alice = PersonClient(
        ISSUER,
        client_id=f"person:{PEOPLE['alice'][0]}",
        key=key_of("alice"),
        http=door.http,
        now=door.times.now,
    )
    with pytest.raises(RefusedError) as caught:
        await alice.agents()
    assert (caught.value.status, caught.value.code) == (403, "forbidden")
    assert "role" in caught.value.detail


async def test_a_broker_that_is_not_there_is_named(door):
    async with httpx.AsyncClient(trust_env=False) as http:
        client = session(door)
        client._http = client.tokens.http = http  # noqa: SLF001
        client.base_url = client.tokens.base_url = "http://127.0.0.1:9"
        with pytest.raises(UnreachableError, match=r"127\.0\.0\.1:9"):
            await client.call("GET", "/v1/tools")


async def test_a_sessions_own_connections_are_closed_with_it():
    async with Session(ISSUER, client_id=AGENT, key=key_of("agent")) as client:
        http = client._http  # noqa: SLF001
    assert http.is_closed
    shared = httpx.AsyncClient()
    async with Session(ISSUER, client_id=AGENT, key=key_of("agent"), http=shared):
        pass
    assert not shared.is_closed
    await shared.aclose()


async def test_an_interaction_that_is_closed_gives_no_token_for_it(door):
    object.__setattr__(door.desk, "interactions", Conversations())
    details = [{"type": "counterfoil", "interaction": INTERACTION_ID}]
    with pytest.raises(RefusedError, match="open interaction"):
        await session(door, details=details).call("GET", "/v1/tools")
