"""Stand in for the edge while somebody tries out a connector: ``tools test``.

    python -P -m broker.edge.trial < order.json

The order names the manifest, the decided arguments and what to answer. Requests pass
the same reading and the same rules as at the real edge. What would be sent is written
as lines of JSON; nothing is sent, unless the order names an upstream. There is no key,
no database and no journal here, and no broker takes a word of it: it is reached only by
the runner that `tools test` starts beside it, and ends with its standard input.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tomllib
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import httpx

from broker.core.frames import HEADER_BYTES, body_bytes, decode_body, encode_frame
from broker.core.warrants.template import Filling
from broker.edge.egress.rules import Allowed, decide
from broker.edge.egress.wire import HEAD_BYTES_MAX, Child, WireError
from broker.edge.receipts import extract
from broker.registry.tools import parse_manifest

if TYPE_CHECKING:
    from collections.abc import Mapping

FRAME_BYTES_MAX: Final = 262_144
UPSTREAM_S_MAX: Final = 10.0
_FORBIDDEN: Final = 403
_BAD_GATEWAY: Final = 502


class Trial:
    """One call of one tool, and what came of it."""

    def __init__(self, order: Mapping[str, Any]) -> None:
        """Take the order; nothing has happened yet."""
        with Path(order["manifest"]).open("rb") as file:
            self._tool = parse_manifest(tomllib.load(file), name="the tool")
        self._order = order
        self._filling = Filling(
            order["arguments"], customer=order["customer"], action=order["action"]
        )
        self._used: dict[str, int] = {}
        self._secret = ""
        if order["credential_file"]:
            self._secret = Path(order["credential_file"]).read_text("utf-8").strip()

    async def serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Serve the runner's connections: calls, and questions."""
        with suppress(EOFError, OSError):
            first = await _read(reader)
            if first.get("op") == "call":
                _write(writer, {"ok": True})
                await self._call(Child(reader, writer))
            while first.get("op") == "control":
                question = await _read(reader)
                # The runner hands it on unread, and nobody here believes it.
                name = "edge_hello" if question.get("op") == "hello" else "receipt"
                _write(writer, {"ok": True, name: "trial"})
        writer.close()

    async def _call(self, child: Child) -> None:
        while True:
            try:
                asked = await child.next()
            except WireError as error:
                await _refuse(child, error.status, error.code, error.detail)
                return
            if asked is None:
                return
            decided = decide(
                asked, tool=self._tool, filling=self._filling, used=self._used
            )
            if not isinstance(decided, Allowed):
                await _refuse(child, _FORBIDDEN, decided.code, decided.detail)
                return
            name = decided.request.request_id
            self._used[name] = self._used.get(name, 0) + 1
            try:
                status, content_type, body = await self._answer(decided)
            except httpx.HTTPError as error:
                detail = f"no answer ({type(error).__name__})"
                await _refuse(child, _BAD_GATEWAY, "upstream_unreachable", detail)
                return
            self._note(decided, status, body)
            await child.answer(status, content_type=content_type, body=body)

    async def _answer(self, allowed: Allowed) -> tuple[int, str, bytes]:
        stub = self._order["stub"]
        if not self._order["upstream"]:
            body = b"" if stub["body"] is None else json.dumps(stub["body"]).encode()
            return stub["status"], "application/json", body
        headers = {"Accept": "application/json", "Accept-Encoding": "identity"}
        if self._secret:
            headers["Authorization"] = f"Bearer {self._secret}"
        if allowed.body is not None:
            headers["Content-Type"] = "application/json"
        if allowed.request.idempotency_header:
            headers[allowed.request.idempotency_header] = self._order["action"]
        async with httpx.AsyncClient(timeout=UPSTREAM_S_MAX, trust_env=False) as client:
            got = await client.request(
                allowed.request.method,
                f"{self._order['upstream']}{allowed.target}",
                content=allowed.body,
                headers=headers,
            )
        return got.status_code, got.headers.get("content-type", ""), got.content

    def _note(self, allowed: Allowed, status: int, body: bytes) -> None:
        request = allowed.request
        noted: dict[str, Any] = {
            "sent": f"{request.method} {allowed.target}",
            "body": None if allowed.body is None else json.loads(allowed.body),
            "rule": request.request_id,
            "status": status,
        }
        if request.request_id == self._tool.receipt.request_id:
            done = status in request.done
            values, alarms = extract(body, self._tool.receipt.values if done else {})
            noted |= {"receipt": values, "alarms": [*alarms]}
        _say(noted)


async def _refuse(child: Child, status: int, code: str, detail: str) -> None:
    _say({"refused": code, "detail": detail})
    body = json.dumps({"code": code, "detail": detail}).encode()
    await child.answer(
        status, content_type="application/problem+json", body=body, last=True
    )


async def _read(reader: asyncio.StreamReader) -> dict[str, Any]:
    header = await reader.readexactly(HEADER_BYTES)
    size = body_bytes(header, frame_max=FRAME_BYTES_MAX)
    return decode_body(await reader.readexactly(size), frame_max=FRAME_BYTES_MAX)


def _write(writer: asyncio.StreamWriter, message: Mapping[str, Any]) -> None:
    writer.write(encode_frame(message, frame_max=FRAME_BYTES_MAX))


def _say(line: Mapping[str, Any]) -> None:
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


async def main() -> None:
    """Serve the order on standard input until that ends."""
    os.umask(0o077)
    order = json.loads(sys.stdin.readline())
    server = await asyncio.start_unix_server(
        Trial(order).serve, order["socket"], limit=HEAD_BYTES_MAX
    )
    _say({"ready": True})
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    server.close()


if __name__ == "__main__":
    asyncio.run(main())
