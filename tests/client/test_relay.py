"""The relay: a framework's own client gets a token and a proof, and nothing else."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from broker.client.answers import RefusedError, UnreachableError
from broker.client.keys import ClientKey, KeyFileError, read_secret
from broker.client.relay import RESOURCES_KEPT_MAX, NotRelayedError, Relay, returned
from broker.client.relay_http import BODY_BYTES_MAX, relay_app
from broker.core.words.entry import EntryKind
from tests.support.identities import AGENT, INTERACTION_ID, ISSUER, key_of

SECRET = "a-secret-of-this-machine"
SHOWN = {"authorization": f"Bearer {SECRET}"}
HERE = "http://127.0.0.1:8490"


def relay(door: Any, **more: Any) -> Relay:
    key = ClientKey(AGENT, "care-agent", key_of("agent"))
    return Relay(ISSUER, key=key, http=door.http, now=door.times.now, **more)


def caller(relay: Relay) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(relay_app(relay, secret=SECRET))
    return httpx.AsyncClient(transport=transport, base_url=HERE)


async def test_a_call_without_any_proof_arrives_with_one(door):
    async with caller(relay(door)) as http:
        answer = await http.get("/v1/tools", headers=SHOWN)
    assert (answer.status_code, answer.json()["proof"]) == (200, True)


async def test_each_conversation_has_a_token_that_is_bound_to_it(door):
    here = relay(door)
    async with caller(here) as http:
        for _ in range(2):
            bound = await http.post(f"/mcp/{INTERACTION_ID}", headers=SHOWN)
            assert bound.json()["interaction"] == INTERACTION_ID
        free = await http.post("/mcp", headers=SHOWN)
        assert free.json()["interaction"] == ""
    assert len(door.logged(EntryKind.TOKEN)) == 2


async def test_tokens_of_so_many_conversations_are_kept_and_not_of_one_more(door):
    here = relay(door)
    for number in range(RESOURCES_KEPT_MAX + 1):
        here._source(f"/mcp/{number}")  # noqa: SLF001
    assert len(here._sources) == RESOURCES_KEPT_MAX  # noqa: SLF001
    assert "/mcp/0" not in here._sources  # noqa: SLF001


async def test_a_server_that_asks_for_a_nonce_gets_it(door):
    door.memory.away = True
    async with caller(relay(door)) as http:
        answer = await http.get("/v1/tools", headers=SHOWN)
    assert answer.status_code == 200


async def test_a_token_that_was_voided_is_replaced_once(door):
    here = relay(door)
    assert (await here.forward("GET", "/v1/tools")).status_code == 200
    source = here._source("/v1")  # noqa: SLF001
    source._token = source._token[:-8] + "AAAAAAAA"  # noqa: SLF001
    assert (await here.forward("GET", "/v1/tools")).status_code == 200


@pytest.mark.parametrize(
    "path",
    [
        *("/", "/oauth/token", "/internal/settle", "/v1/../oauth/token", "/v1/./tools"),
        *("/v1/%2e%2e/oauth/token", "/v1x", "/mcpx", "/mcp/../v1/tools", "//v1/tools"),
        *("/v1/tools?x=1", "/v1/tools#x", "/v1//tools", "/v1/tools/", "/V1/tools"),
        *("/console", "/.well-known/jwks.json", "/v1/\\tools", "/v1/a b"),
    ],
)
async def test_only_paths_of_agents_are_relayed_and_nothing_that_reads_as_another(
    door, path
):
    with pytest.raises(NotRelayedError):
        await relay(door).forward("POST", path)
    assert door.logged(EntryKind.TOKEN) == []


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        ({"authorization": "Bearer another"}, 401),
        ({"authorization": f"Bearer {SECRET}x"}, 401),
        ({"authorization": f"bearer {SECRET}"}, 401),
        (SHOWN | {"origin": "http://127.0.0.1:8490"}, 403),
        (SHOWN | {"origin": "null"}, 403),
        (SHOWN | {"host": "evil.example"}, 400),
        (SHOWN | {"host": "localhost:8490"}, 200),
    ],
)
async def test_pages_and_whoever_has_not_the_secret_are_refused(door, headers, status):
    async with caller(relay(door)) as http:
        answer = await http.get("/v1/tools", headers=headers)
    assert answer.status_code == status
    assert SECRET not in answer.text


async def test_what_a_caller_says_of_itself_is_not_sent_on(door):
    sent: list[httpx.Request] = []

    async def note(request: httpx.Request) -> None:
        sent.append(request)

    door.http.event_hooks["request"].append(note)
    own = {
        "dpop": "forged",
        "cookie": "a=b",
        "x-forwarded-for": "1.2.3.4",
        "idempotency-key": "k",
    }
    async with caller(relay(door)) as http:
        answer = await http.get("/v1/tools", headers=SHOWN | own)
    assert answer.status_code == 200
    last = sent[-1]
    assert last.headers["idempotency-key"] == "k"
    assert last.headers.get_list("dpop") != ["forged"]
    assert len(last.headers.get_list("dpop")) == 1
    assert last.headers["authorization"].startswith("DPoP ")
    assert SECRET not in str(last.headers)
    assert not {"cookie", "x-forwarded-for"} & {*last.headers}


async def test_a_body_is_taken_up_to_the_limit_and_not_one_byte_more(door):
    async with caller(relay(door)) as http:
        fits = await http.post("/mcp", headers=SHOWN, content=b"x" * BODY_BYTES_MAX)
        over = await http.post(
            "/mcp", headers=SHOWN, content=b"x" * (BODY_BYTES_MAX + 1)
        )
    assert fits.status_code != 413
    assert (over.status_code, over.json()["code"]) == (413, "too-large")


async def test_an_agent_that_was_revoked_is_told_so_and_a_broker_that_is_gone_as_well(
    door,
):
    here = relay(door)
    await door.change("agent", AGENT.partition(":")[2], status="revoked")
    with pytest.raises(RefusedError):
        await here.ready()
    async with caller(here) as http:
        answer = await http.get("/v1/tools", headers=SHOWN)
        assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")

    def gone(_: httpx.Request) -> httpx.Response:
        msg = "nobody"
        raise httpx.ConnectError(msg)

    key = ClientKey(AGENT, "care-agent", key_of("agent"))
    async with (
        httpx.AsyncClient(transport=httpx.MockTransport(gone)) as nobody,
        caller(Relay(ISSUER, key=key, http=nobody)) as http,
    ):
        answer = await http.get("/v1/tools", headers=SHOWN)
        assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
        assert answer.headers["retry-after"]
        with pytest.raises(UnreachableError):
            await Relay(ISSUER, key=key, http=nobody).ready()


def test_of_an_answer_only_what_concerns_the_caller_comes_back():
    headers = {
        "content-type": "application/json",
        "retry-after": "2",
        "dpop-nonce": "n",
        "set-cookie": "a=b",
    }
    names = {name for name, _ in returned(httpx.Response(200, headers=headers))}
    assert names == {"content-type", "retry-after"}


def test_a_secret_comes_from_a_file_that_is_its_owners_alone(tmp_path):
    file = tmp_path / "secret"
    file.write_text("of-one-line\n")
    file.chmod(0o600)
    assert read_secret(file) == "of-one-line"
    for text in ("", "two\nlines\n", "\u00e9"):
        file.write_text(text, encoding="utf-8")
        with pytest.raises(KeyFileError):
            read_secret(file)
    file.write_text("of-one-line\n")
    file.chmod(0o640)
    with pytest.raises(KeyFileError, match="open to others"):
        read_secret(file)
