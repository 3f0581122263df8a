"""The endpoint: who gets in, what they must send, and how errors look in HTTP."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

from broker.api.mcp.words import MESSAGE_BYTES_MAX
from broker.core.words.subject import Grant
from tests.support.flow.executor import ORDER
from tests.support.identities import AGENT_ID, ISSUER
from tests.support.mcp.house import ENVELOPE, MCP, NEW, OLD, McpHouse

LIST = {"jsonrpc": "2.0", "id": 7, "method": "tools/list"}
OLD_LIST = {"mcp-protocol-version": OLD}
INITIALIZE = {
    "protocolVersion": OLD,
    "capabilities": {},
    "clientInfo": {"name": "x", "version": "1"},
}


async def test_without_a_token_the_way_to_one_is_shown(api: McpHouse) -> None:
    for path in ("/mcp", f"/mcp/{AGENT_ID}"):
        answer = await api.post(LIST, OLD_LIST, path=path)
        assert answer.status_code == 401
        challenge = answer.headers["www-authenticate"]
        metadata = f"{ISSUER}/.well-known/oauth-protected-resource{path}"
        assert f'resource_metadata="{metadata}"' in challenge
        assert challenge.startswith("DPoP ")
        assert ", Bearer " in challenge


async def test_a_broken_body_of_a_stranger_is_not_even_read(api: McpHouse) -> None:
    assert (await api.post(b"\xff" * 100_000, {})).status_code == 401


async def test_there_is_no_stream_and_no_session_to_end(api: McpHouse) -> None:
    interaction = await api.house.interaction()
    headers = api.bearer(interaction) | {"accept": "text/event-stream"}
    for method in ("GET", "DELETE", "PUT", "HEAD"):
        answer = await api.http.request(method, "/mcp", headers=headers)
        assert answer.status_code == 405
        assert answer.headers["allow"] == "POST"


FOREIGN = ("http://evil.example", "null", f"{ISSUER}.evil.example", f"{ISSUER}1", "")


async def test_a_page_of_another_origin_is_refused_before_its_token(
    api: McpHouse,
) -> None:
    headers = api.bearer(await api.house.interaction()) | OLD_LIST
    assert (await api.post(LIST, headers | {"origin": ISSUER})).status_code == 200
    for origin in FOREIGN:
        answer = await api.post(LIST, headers | {"origin": origin})
        assert answer.status_code == 403, origin
        assert (await api.post(LIST, {"origin": origin})).status_code == 403


async def test_another_media_type_is_refused(api: McpHouse) -> None:
    who = api.bearer(await api.house.interaction()) | OLD_LIST
    for kind, status in (
        ("application/json; charset=utf-8", 200),
        ("APPLICATION/JSON", 200),
        ("text/plain", 415),
        ("application/jsonp", 415),
        ("", 415),
    ):
        answer = await api.post(LIST, who | {"content-type": kind})
        assert answer.status_code == status, kind


async def test_a_client_that_cannot_read_json_is_told_so(api: McpHouse) -> None:
    who = api.bearer(await api.house.interaction()) | OLD_LIST
    for accept, status in (
        ("application/json, text/event-stream", 200),
        ("application/json;q=0.5", 200),
        ("application/*", 200),
        ("*/*", 200),
        ("text/event-stream", 406),
        ("text/html", 406),
    ):
        answer = await api.post(LIST, who | {"accept": accept})
        assert answer.status_code == status, accept


async def test_a_body_past_the_limit_is_not_read_to_its_end(api: McpHouse) -> None:
    who = api.bearer(await api.house.interaction()) | OLD_LIST
    fits = json.dumps(LIST).encode()
    fits += b" " * (MESSAGE_BYTES_MAX - len(fits))
    assert (await api.post(fits, who)).status_code == 200
    answer = await api.post(fits + b" ", who)
    assert answer.status_code == 413
    assert answer.json()["error"]["code"] == -32600
    assert answer.json()["id"] is None
    taken = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal taken
        while taken < 100 * MESSAGE_BYTES_MAX:
            taken += 1_024
            yield b" " * 1_024

    headers = who | {"content-type": "application/json"}
    answer = await api.http.post("/mcp", content=endless(), headers=headers)
    assert answer.status_code == 413
    assert taken <= 2 * MESSAGE_BYTES_MAX


async def test_what_is_no_message_gets_an_error_without_an_id(api: McpHouse) -> None:
    who = api.bearer(await api.house.interaction()) | OLD_LIST
    for body, code in ((b"{", -32700), ([LIST], -32600), ({"id": 1}, -32600)):
        answer = await api.post(body, who)
        assert answer.status_code == 400
        assert answer.json()["error"]["code"] == code
        assert answer.json()["id"] is None


async def test_a_notification_is_taken_and_dropped(api: McpHouse) -> None:
    who = api.bearer(await api.house.interaction())
    body = {"jsonrpc": "2.0", "params": {"requestId": 1}}
    for name in ("notifications/cancelled", "notifications/initialized"):
        body["method"] = name
        for revision in (OLD, NEW):
            answer = await api.post(body, who | {"mcp-protocol-version": revision})
            assert answer.status_code == 202
            assert answer.content == b""
    answer = await api.post(body, who | {"mcp-protocol-version": "2025-06-18"})
    assert answer.status_code == 400


async def test_each_revision_has_its_own_way_to_begin(api: McpHouse) -> None:
    who = api.bearer(await api.house.interaction())
    found = (await api.rpc("server/discover", who=who)).json()["result"]
    assert found["supportedVersions"] == [OLD, NEW]
    assert found["resultType"] == "complete"
    assert found["cacheScope"] == "private"
    body = {"jsonrpc": "2.0", "id": 1, "method": "initialize"}
    begun = await api.post(body | {"params": INITIALIZE}, who)
    assert begun.json()["result"]["protocolVersion"] == OLD
    assert "mcp-session-id" not in begun.headers
    older = INITIALIZE | {"protocolVersion": "2024-11-05"}
    offered = await api.post(body | {"params": older}, who)
    assert offered.json()["result"]["protocolVersion"] == OLD


async def test_a_handshake_without_its_fields_is_refused(api: McpHouse) -> None:
    who = api.bearer(await api.house.interaction())
    for name in INITIALIZE:
        params = {key: value for key, value in INITIALIZE.items() if key != name}
        body = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params}
        error = (await api.post(body, who)).json()["error"]
        assert error["code"] == -32602


NO_METHODS = (
    "tools/List",
    "resources/list",
    "prompts/list",
    "logging/setLevel",
    "tasks/get",
    "subscriptions/listen",
    "x",
    "",
)


async def test_methods_that_we_do_not_have_are_not_found(api: McpHouse) -> None:
    who = api.bearer(await api.house.interaction())
    for method in NO_METHODS:
        for revision, status in ((NEW, 404), (OLD, 200)):
            answer = await api.rpc(method, who=who, revision=revision)
            assert answer.status_code == status, method
            assert answer.json()["error"]["code"] == -32601
            assert answer.json()["id"] == 1


async def test_each_revision_has_only_its_own_methods(api: McpHouse) -> None:
    who = api.bearer(await api.house.interaction())
    for method, revision, there in (
        ("ping", OLD, True),
        ("ping", NEW, False),
        ("server/discover", OLD, False),
        ("initialize", NEW, False),
    ):
        answer = await api.rpc(method, who=who, revision=revision)
        assert ("result" in answer.json()) is there


async def test_errors_of_readable_requests_are_200_only_in_the_older_revision(
    api: McpHouse,
) -> None:
    who = api.bearer(await api.house.interaction())
    for revision, status in ((NEW, 400), (OLD, 200)):
        answer = await api.rpc("tools/list", {"cursor": 5}, who=who, revision=revision)
        assert answer.status_code == status
        assert answer.json()["error"]["code"] == -32602
        assert answer.json()["id"] == 1


async def test_a_header_that_contradicts_the_body_is_refused(api: McpHouse) -> None:
    who = api.bearer(await api.house.interaction())
    params = {"name": "orders.get", "arguments": {"order_id": ORDER}}
    lie = who | {"mcp-name": "customers.get"}
    answer = await api.rpc("tools/call", params, who=lie)
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == -32020
    assert api.house.executor.runs == []


async def test_answers_may_be_kept_by_nobody(api: McpHouse) -> None:
    who = api.bearer(await api.house.interaction())
    for method in ("tools/list", "x"):
        answer = await api.rpc(method, who=who)
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["content-type"] == "application/json"


async def test_a_dpop_token_is_proved_for_every_message(api: McpHouse) -> None:
    interaction = await api.house.interaction()
    meta = {"io.counterfoil/interaction": interaction.interaction_id}
    who = api.proved()
    first = await api.call("customers.get", {}, who=who, meta=meta)
    assert first["structuredContent"]["status"] == "done"
    again = await api.rpc("tools/list", who=who)
    assert again.status_code == 401
    elsewhere = api.proved(f"{ISSUER}/v1/actions")
    assert (await api.rpc("tools/list", who=elsewhere)).status_code == 401


async def test_the_address_of_an_interaction_names_it(api: McpHouse) -> None:
    interaction = await api.house.interaction()
    path = f"/mcp/{interaction.interaction_id}"
    url = f"{ISSUER}{path}"
    who = api.proved(url)
    found = await api.call("customers.get", {}, who=who, path=path)
    assert found["structuredContent"]["interaction"] == interaction.interaction_id
    token = api.token(bound_to=interaction.interaction_id, audience=url)
    bearer = {"authorization": f"Bearer {token}"}
    found = await api.call("customers.get", {}, who=bearer, path=path)
    assert found["structuredContent"]["status"] == "done"
    # That token is for this address and no other.
    assert (await api.rpc("tools/list", who=bearer)).status_code == 401


async def test_tokens_for_mcp_alone_are_admitted(api: McpHouse) -> None:
    who = api.bearer(await api.house.interaction(), audience=MCP)
    assert (await api.rpc("tools/list", who=who)).status_code == 200
    rest = await api.http.get("/v1/tools", headers=who)
    assert rest.status_code == 401


async def test_a_revoked_agent_gets_no_answer(api: McpHouse) -> None:
    who = api.bearer(await api.house.interaction())
    assert (await api.rpc("tools/list", who=who)).status_code == 200
    await api.house.revoke(f"agent:{AGENT_ID}")
    assert (await api.rpc("tools/list", who=who)).status_code == 401


async def test_the_envelope_is_asked_of_every_request_of_the_newer_revision(
    api: McpHouse,
) -> None:
    who = api.bearer(await api.house.interaction())
    headers = who | {"mcp-protocol-version": NEW, "mcp-method": "tools/list"}
    answer = await api.post(LIST, headers)
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == -32602
    answer = await api.post(LIST | {"params": {"_meta": ENVELOPE}}, headers)
    assert answer.status_code == 200


async def test_a_listing_shows_what_row_and_token_both_grant(api: McpHouse) -> None:
    interaction = await api.house.interaction()
    own = {"get_action", "answer_question", "cancel_action", "list_my_actions"}
    for granted, expected in (
        (frozenset(), {tool.name for tool in api.house.ports.shelf.tools()}),
        (frozenset({"orders.get", "orders.unheard"}), {"orders.get"}),
    ):
        grant = Grant(tools=granted, interaction_id=interaction.interaction_id)
        who = api.bearer(interaction, grant=grant)
        answer = (await api.rpc("tools/list", who=who)).json()["result"]
        names = {tool["name"] for tool in answer["tools"]}
        assert answer["cacheScope"] == "private"
        assert names == {name.replace(".", "_") for name in expected} | own
