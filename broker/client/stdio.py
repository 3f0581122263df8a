"""MCP over standard input and output, for clients that start a command.

One JSON-RPC message a line comes in, goes to the broker's endpoint through the relay,
and its answer goes out as one line. Messages are under way at the same time, as over
HTTP, and answered as they end.

Source: MCP 2025-11-25 and 2026-07-28, transports.
"""

from __future__ import annotations

import asyncio
import json
from base64 import b64encode
from typing import TYPE_CHECKING, Any, Final

from broker.client.answers import RefusedError, UnreachableError
from broker.core.canonical import CanonicalError, parse_json

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from broker.client.relay import Relay

LINE_BYTES_MAX: Final = 65_536
LINE_DEPTH_MAX: Final = 64
AT_ONCE_MAX: Final = 16

PARSE_ERROR: Final = -32700
UNAVAILABLE: Final = -32011
RETRY_AFTER_S: Final = 2

_REVISION_OF = "io.modelcontextprotocol/protocolVersion"
_NAMES: Final = {"tools/call": "name", "prompts/get": "name", "resources/read": "uri"}


class StdioBridge:
    """Answers the messages of one client."""

    def __init__(
        self, relay: Relay, *, write: Callable[[bytes], Awaitable[None]], path: str
    ) -> None:
        """Keep both ends.

        Args:
            relay: Where messages go.
            write: Takes one line for the client; never called twice at once.
            path: The MCP endpoint, ``/mcp`` or that of one interaction.
        """
        self._relay = relay
        self._write = write
        self._path = path
        self._revision = ""
        self._slots = asyncio.Semaphore(AT_ONCE_MAX)
        self._writing = asyncio.Lock()

    async def run(self, reader: asyncio.StreamReader) -> None:
        """Answer every line until the client closes its end."""
        async with asyncio.TaskGroup() as answers:
            while True:
                try:
                    line = await reader.readline()
                except ValueError:
                    # A line over the reader's limit; nothing after it can be trusted.
                    await self._say(None, PARSE_ERROR, "the line is too long", {})
                    return
                if not line:
                    return
                if not line.strip():
                    continue
                try:
                    message = _read(line)
                except CanonicalError as error:
                    await self._say(None, PARSE_ERROR, str(error), {})
                    continue
                if message.get("method") == "initialize":
                    # What follows is in the revision that this one agrees on.
                    await self._answer(line, message)
                    continue
                await self._slots.acquire()
                answers.create_task(self._answered(line, message))

    async def _answered(self, line: bytes, message: Mapping[str, Any]) -> None:
        try:
            await self._answer(line, message)
        finally:
            self._slots.release()

    async def _answer(self, line: bytes, fields: Mapping[str, Any]) -> None:
        try:
            response = await self._relay.forward(
                "POST",
                self._path,
                headers=[*self._routing(fields).items()],
                body=line.strip(),
            )
        except (UnreachableError, RefusedError) as error:
            code = getattr(error, "code", "broker-unreachable")
            data = {"code": code, "retry_after_s": RETRY_AFTER_S}
            if "id" in fields:
                await self._say(fields["id"], UNAVAILABLE, str(error), data)
            return
        if "id" not in fields and fields:
            # A notification has no answer, whatever becomes of it.
            return
        try:
            answer = response.json()
        except ValueError:
            answer = None
        if not isinstance(answer, dict) or "jsonrpc" not in answer:
            # A problem of the door before the endpoint, such as a token that ended.
            detail = answer.get("detail", "") if isinstance(answer, dict) else ""
            text = str(detail) or f"the broker answered {response.status_code}"
            data = {"status": response.status_code}
            await self._say(fields.get("id"), UNAVAILABLE, text, data)
            return
        if fields.get("method") == "initialize":
            self._learn(answer)
        await self._put(answer)

    def _routing(self, message: Mapping[str, Any]) -> dict[str, str]:
        """Return the headers that repeat, over HTTP, what the message says."""
        method, params = message.get("method"), message.get("params")
        params = params if isinstance(params, dict) else {}
        meta = params.get("_meta")
        named = meta.get(_REVISION_OF) if isinstance(meta, dict) else None
        headers = {"content-type": "application/json", "accept": "application/json"}
        if isinstance(named, str):
            headers["mcp-protocol-version"] = _carried(named)
            if isinstance(method, str):
                headers["mcp-method"] = _carried(method)
            name = params.get(_NAMES.get(str(method), ""))
            if isinstance(name, str):
                headers["mcp-name"] = _carried(name)
        elif self._revision and method != "initialize":
            headers["mcp-protocol-version"] = self._revision
        return headers

    def _learn(self, answer: Mapping[str, Any]) -> None:
        result = answer.get("result")
        revision = result.get("protocolVersion") if isinstance(result, dict) else None
        if isinstance(revision, str):
            self._revision = revision

    async def _say(
        self, message_id: object, code: int, text: str, data: Mapping[str, Any]
    ) -> None:
        error = {"code": code, "message": text, "data": dict(data)}
        await self._put({"jsonrpc": "2.0", "id": message_id, "error": error})

    async def _put(self, message: Mapping[str, Any]) -> None:
        line = json.dumps(message, ensure_ascii=False, separators=(",", ":"))
        async with self._writing:
            await self._write(line.encode() + b"\n")


def _read(line: bytes) -> Mapping[str, Any]:
    """Return a message; what is none goes on as it is, for the broker to refuse.

    Raises:
        CanonicalError: It is no strict JSON, or over a limit.
    """
    found = parse_json(
        line, bytes_max=LINE_BYTES_MAX, depth_max=LINE_DEPTH_MAX, floats=True
    )
    return found if isinstance(found, dict) else {}


def _carried(value: str) -> str:
    """Return a value as a header carries it; what it cannot is wrapped in base64."""
    if value.isascii() and value.isprintable() and value == value.strip():
        return value
    return f"=?base64?{b64encode(value.encode()).decode()}?="
