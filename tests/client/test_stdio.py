"""MCP over standard input and output: one line in, one line out."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx
import pytest

from broker.client.answers import UnreachableError
from broker.client.stdio import (
    AT_ONCE_MAX,
    LINE_BYTES_MAX,
    LINE_DEPTH_MAX,
    PARSE_ERROR,
    UNAVAILABLE,
    StdioBridge,
)

INITIALIZE = {"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {}}
OLD, NEW = "2025-11-25", "2026-07-28"


class FakeRelay:
    """Answers as a broker would, and notes what came."""

    def __init__(self) -> None:
        self.seen: list[tuple[dict[str, str], bytes]] = []
        self.answer: Any = None
        self.status = 200
        self.go = asyncio.Event()
        self.go.set()
        self.at_once = self.at_once_most = 0

    async def forward(
        self, method: str, path: str, *, headers: Any, body: bytes
    ) -> httpx.Response:
        assert (method, path) == ("POST", "/mcp")
        self.seen.append((dict(headers), body))
        self.at_once += 1
        self.at_once_most = max(self.at_once_most, self.at_once)
        await self.go.wait()
        self.at_once -= 1
        if isinstance(self.answer, Exception):
            raise self.answer
        if self.answer is not None:
            return httpx.Response(self.status, content=self.answer)
        asked = json.loads(body)
        if "id" not in asked:
            return httpx.Response(202)
        result = {"protocolVersion": OLD} if asked["method"] == "initialize" else {}
        answer = {"jsonrpc": "2.0", "id": asked["id"], "result": result}
        return httpx.Response(200, json=answer)


async def spoken(relay: FakeRelay, *lines: Any) -> list[dict[str, Any]]:
    """Say some lines and hang up; return what was answered."""
    said: list[bytes] = []

    async def write(line: bytes) -> None:
        said.append(line)

    reader = asyncio.StreamReader(limit=LINE_BYTES_MAX)
    for line in lines:
        reader.feed_data(
            line if isinstance(line, bytes) else json.dumps(line).encode() + b"\n"
        )
    reader.feed_eof()
    bridge = StdioBridge(relay, write=write, path="/mcp")  # type: ignore[arg-type]
    await bridge.run(reader)
    assert all(line.endswith(b"\n") and line.count(b"\n") == 1 for line in said)
    return [json.loads(line) for line in said]


def call(number: int, **params: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": params}


async def test_after_the_handshake_its_revision_goes_along_as_a_header() -> None:
    relay = FakeRelay()
    said = await spoken(
        relay,
        INITIALIZE,
        {"jsonrpc": "2.0", "method": "notifications/initialized"},
        {"jsonrpc": "2.0", "id": 1, "method": "tools/list"},
    )
    assert [one["id"] for one in said] == [0, 1]
    revisions = [headers.get("mcp-protocol-version") for headers, _ in relay.seen]
    assert revisions == [None, OLD, OLD]


async def test_an_envelope_is_repeated_in_the_headers() -> None:
    relay = FakeRelay()
    meta = {"io.modelcontextprotocol/protocolVersion": NEW}
    await spoken(
        relay, call(1, name="orders_get", _meta=meta), call(2, name="é", _meta=meta)
    )
    first, second = (headers for headers, _ in sorted(relay.seen, key=lambda s: s[1]))
    assert first["mcp-protocol-version"] == NEW
    assert first["mcp-method"] == "tools/call"
    assert first["mcp-name"] == "orders_get"
    assert second["mcp-name"] == "=?base64?w6k=?="


async def test_messages_are_under_way_at_once_up_to_the_limit() -> None:
    relay = FakeRelay()
    relay.go.clear()
    calls = [call(number) for number in range(AT_ONCE_MAX + 1)]
    task = asyncio.create_task(spoken(relay, *calls))
    await asyncio.sleep(0.1)
    assert relay.at_once == AT_ONCE_MAX
    relay.go.set()
    assert sorted(one["id"] for one in await task) == list(range(AT_ONCE_MAX + 1))
    assert relay.at_once_most == AT_ONCE_MAX


async def test_what_is_no_message_gets_an_error_and_the_next_line_its_answer() -> None:
    relay = FakeRelay()
    deep = b"[" * (LINE_DEPTH_MAX + 1) + b"]" * (LINE_DEPTH_MAX + 1) + b"\n"
    twice = b'{"id": 1, "id": 2}\n'
    said = await spoken(relay, b"{\n", deep, twice, b"\n", call(7))
    assert [one.get("error", {}).get("code") for one in said[:3]] == [PARSE_ERROR] * 3
    assert said[3]["id"] == 7
    assert len(relay.seen) == 1


async def test_a_line_beyond_the_limit_ends_the_conversation() -> None:
    relay = FakeRelay()
    said = await spoken(relay, b"x" * (LINE_BYTES_MAX + 2) + b"\n", call(1))
    assert [one["error"]["code"] for one in said] == [PARSE_ERROR]
    assert relay.seen == []


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (UnreachableError("nobody answers"), 0),
        (b"not json", 502),
        (b'{"detail": "the token has ended"}', 401),
        (b"[]", 200),
    ],
)
async def test_an_answer_that_is_none_becomes_an_error_with_the_messages_id(
    answer: Any, status: int
) -> None:
    relay = FakeRelay()
    relay.answer, relay.status = answer, status
    silent = {"jsonrpc": "2.0", "method": "notifications/cancelled"}
    said = await spoken(relay, call(3), silent)
    assert [(one["id"], one["error"]["code"]) for one in said] == [(3, UNAVAILABLE)]
