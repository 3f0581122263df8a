"""The dependencies: who is admitted where, and how the others are turned away."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import replace

import pytest

from broker.api.identity.front import ESTABLISH_S_MAX, MOVES_MAX
from broker.core.identity.refusals import REFUSALS_BURST_MAX, REFUSALS_PER_S_MAX
from broker.core.words.entry import EntryKind
from tests.support.door import slots
from tests.support.fake_registry import FakeMemory
from tests.support.identities import AGENT, AGENT_ID, INTERACTION_ID, ISSUER, key_of

PATHS = {
    "agent": ("GET", "/v1/tools"),
    "alice": ("GET", "/v1/approvals"),
    "worker": ("POST", "/internal/settle"),
}
DETAILS = json.dumps([{"type": "counterfoil", "interaction": INTERACTION_ID}])


async def bearer(door, **fields) -> str:
    form = door.form(**({"authorization_details": DETAILS} | fields))
    answer = await door.ask(form, proof=None)
    return str(answer.json()["access_token"])


async def test_each_kind_is_admitted_at_its_own_paths_and_nowhere_else(door):
    for who in PATHS:
        token = await door.token(who)
        for owner, (method, path) in PATHS.items():
            answer = await door.call(method, path, token)
            assert answer.status_code == (200 if owner == who else 401), (who, path)


async def test_a_bearer_token_of_one_interaction_is_admitted_without_possession(door):
    token = await bearer(door)
    answer = await door.http.get(
        "/v1/tools", headers={"authorization": f"Bearer {token}"}
    )
    assert answer.json() == {
        "subject": AGENT,
        "proof": False,
        "tools": [],
        "interaction": INTERACTION_ID,
    }


async def test_a_token_for_mcp_is_no_token_for_rest_and_rest_includes_mcp(door):
    mcp = await door.token(resource=f"{ISSUER}/mcp")
    rest = await door.token()
    assert (await door.call("POST", "/mcp", mcp)).status_code == 200
    assert (await door.call("POST", "/mcp", rest)).status_code == 200
    assert (await door.call("GET", "/v1/tools", mcp)).status_code == 401


async def test_the_address_of_one_interaction_takes_tokens_for_it_or_for_all(door):
    here, other = f"/mcp/{INTERACTION_ID}", f"/mcp/{AGENT_ID}"
    token = await bearer(door, resource=ISSUER + here, authorization_details=...)
    headers = {"authorization": f"Bearer {token}"}
    assert (await door.http.post(here, headers=headers)).status_code == 200
    assert (await door.http.post(other, headers=headers)).status_code == 401
    assert (await door.http.post("/mcp", headers=headers)).status_code == 401


async def test_a_call_at_any_of_our_origins_is_proved_for_that_origin(door):
    token = await door.token()
    for origin, status in (
        ("http://127.0.0.1:8401", 200),
        ("http://evil.example", 401),
    ):
        proof = door.proof("GET", f"{origin}/v1/tools", token=token)
        answer = await door.call("GET", "/v1/tools", token, proof=proof)
        assert answer.status_code == status


async def test_what_knows_who_calls_is_waited_for_only_so_long(door, monkeypatch):
    token = await door.token()

    async def silent(_: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(door.identities, "standing", silent)
    began = time.monotonic()
    answer = await door.call("GET", "/v1/tools", token)
    assert ESTABLISH_S_MAX <= time.monotonic() - began < ESTABLISH_S_MAX + 1
    assert (answer.status_code, answer.json()["code"]) == (503, "store-unavailable")
    assert answer.headers["retry-after"]


async def test_headers_about_the_host_decide_nothing(door):
    token = await door.token()
    evil = {"host": "evil.example", "x-forwarded-host": "evil.example"}
    proof = door.proof("GET", "http://evil.example/v1/tools", token=token)
    answer = await door.call("GET", "/v1/tools", token, proof=proof, headers=evil)
    assert answer.status_code == 401
    answer = await door.call("GET", "/v1/tools", token, headers=evil)
    assert answer.status_code == 200


async def test_the_query_of_a_call_is_no_part_of_what_is_proved(door):
    token = await door.token()
    assert (await door.call("GET", "/v1/tools?a=1", token)).status_code == 200


@pytest.mark.parametrize(
    ("path", "resource"),
    [
        ("/v1/tools", "/v1"),
        ("/mcp", "/mcp"),
        (f"/mcp/{INTERACTION_ID}", f"/mcp/{INTERACTION_ID}"),
    ],
)
async def test_whoever_comes_without_a_token_is_shown_the_way_in(door, path, resource):
    answer = await door.http.request("GET" if path == "/v1/tools" else "POST", path)
    assert answer.status_code == 401
    challenge = answer.headers["www-authenticate"]
    metadata = f"{ISSUER}/.well-known/oauth-protected-resource{resource}"
    assert challenge.count(f'resource_metadata="{metadata}"') == 2
    assert challenge.startswith("DPoP ")
    assert ", Bearer " in challenge
    assert (await door.http.get(metadata.removeprefix(ISSUER))).status_code == 200
    assert door.logged(EntryKind.REFUSED) == []


async def test_after_a_loss_of_memory_a_call_is_told_its_nonce_and_then_admitted(door):
    token = await door.token()
    door.memory.forget()
    answer = await door.call("GET", "/v1/tools", token)
    assert answer.status_code == 401
    assert 'error="use_dpop_nonce"' in answer.headers["www-authenticate"]
    nonce = answer.headers["dpop-nonce"]
    url = f"{ISSUER}/v1/tools"
    proof = door.proof("GET", url, token=token, nonce=nonce)
    assert (await door.call("GET", "/v1/tools", token, proof=proof)).status_code == 200
    answer = await door.call("GET", "/v1/tools", token, proof=proof)
    assert answer.json()["code"] == "proof-invalid"


async def test_a_nonce_of_another_replica_that_moved_on_is_looked_up(door):
    token = await door.token()
    door.memory.forget()
    nonce = (await door.call("GET", "/v1/tools", token)).headers["dpop-nonce"]
    # This replica still believes in the epoch of before; the other has moved.
    known = await door.memory.refresh()

    class Behind(FakeMemory):
        late = True

        async def rule(self):
            return replace(known, epoch=known.epoch - 1) if self.late else known

        async def refresh(self):
            self.late = False
            return known

    door.memory.__class__ = Behind
    url = f"{ISSUER}/v1/tools"
    proof = door.proof("GET", url, token=token, nonce=nonce)
    assert (await door.call("GET", "/v1/tools", token, proof=proof)).status_code == 200


async def test_a_memory_that_never_comes_to_rest_is_an_answer_and_not_a_hang(door):
    token = await door.token()
    asked = 0

    class Restless(FakeMemory):
        async def first_proof(self, use, *, epoch):
            nonlocal asked
            asked += 1

    door.memory.__class__ = Restless
    answer = await door.call("GET", "/v1/tools", token)
    assert answer.status_code == 503
    assert asked == MOVES_MAX


async def test_nothing_is_admitted_while_the_database_is_away(door):
    token = await door.token()
    door.registry.down = True
    answer = await door.call("GET", "/v1/tools", token)
    assert (answer.status_code, answer.json()["code"]) == (503, "store-unavailable")


async def test_refusals_are_logged_up_to_a_rate_and_the_rest_is_counted(door):
    headers = {"authorization": "Bearer x.y.z"}
    extra = 7
    for _ in range(REFUSALS_BURST_MAX + extra):
        answer = await door.http.get("/v1/tools", headers=headers)
        assert answer.status_code == 401
    assert len(door.logged(EntryKind.REFUSED)) == REFUSALS_BURST_MAX
    door.times.pass_(1 / REFUSALS_PER_S_MAX)
    await door.http.get("/v1/tools", headers=headers)
    last = door.logged(EntryKind.REFUSED)[-1]
    assert last.detail["held_back"] == extra
    assert last.detail["reasons"][0]["code"] == "unauthenticated"


async def test_a_refusal_that_cannot_be_logged_is_a_refusal_all_the_same(door):
    door.journal.full = True
    headers = {"authorization": "Bearer x.y.z"}
    assert (await door.http.get("/v1/tools", headers=headers)).status_code == 401
    door.journal.full = False
    await door.http.get("/v1/tools", headers=headers)
    (entry,) = door.logged(EntryKind.REFUSED)
    assert entry.detail["held_back"] == 1


async def test_a_removed_key_ends_the_tokens_that_were_got_with_it(door):
    token = await door.token()
    await door.change("agent", AGENT_ID, keys=slots("agent-next"))
    assert (await door.call("GET", "/v1/tools", token)).status_code == 401
    form = door.form(client_assertion=door.assertion(key=key_of("agent-next")))
    fresh = (await door.ask(form)).json()["access_token"]
    assert (await door.call("GET", "/v1/tools", fresh)).status_code == 200
