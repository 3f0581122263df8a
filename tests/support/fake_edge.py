"""A small edge for tests of the runner: same socket protocol, nothing behind it.

It verifies no signature and holds no credential. Its upstream is a function. Only the
standard library is used, so that a test can run it under another user.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

HEADER_BYTES = 4


@dataclass(frozen=True)
class Seen:
    """A request that a child sent."""

    method: str
    target: str
    headers: dict[str, str]
    body: Any


Upstream = Callable[[Seen], tuple[int, Any]]
"""Return a status and a JSON value; bytes are sent to the child as they are."""


def echo(seen: Seen) -> tuple[int, Any]:
    """Answer every request with what was asked."""
    return 200, {"method": seen.method, "target": seen.target, "body": seen.body}


def pack(message: Any) -> bytes:
    """Return a frame."""
    body = json.dumps(message).encode()
    return len(body).to_bytes(HEADER_BYTES, "big") + body


def token(typ: str, claims: dict[str, Any]) -> str:
    """Return the compact form of a JWS whose signature is nonsense."""
    parts = (json.dumps({"alg": "EdDSA", "typ": typ}), json.dumps(claims), "signature")
    return ".".join(
        base64.urlsafe_b64encode(part.encode()).rstrip(b"=").decode() for part in parts
    )


def claims_of(jws: str) -> dict[str, Any]:
    """Return the claims of a compact JWS."""
    part = jws.split(".")[1]
    claims: dict[str, Any] = json.loads(
        base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
    )
    return claims


def warrant(**claims: Any) -> str:
    """Return a warrant; what is not given has a plain value."""
    plain = {
        "jti": "warrant-1",
        "action": "action-1",
        "tool": "orders.get",
        "connector": "retail",
        "manifest": "",
        "customer": "",
        "arguments": {},
    }
    return token("counterfoil-warrant+jwt", {**plain, **claims})


@dataclass
class FakeEdge:
    """Serves the edge's socket; what happened can be looked at afterwards."""

    path: Path
    upstream: Upstream = echo
    refuse: str = ""
    silent: bool = False
    without_receipts: bool = False
    seen: list[Seen] = field(default_factory=list)
    warrants: list[str] = field(default_factory=list)
    receipts: list[str] = field(default_factory=list)
    controls: int = 0
    open_calls: int = 0
    _server: asyncio.Server | None = None
    _writers: set[asyncio.StreamWriter] = field(default_factory=set)

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_unix_server(self._serve, str(self.path))
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        self.drop()
        await asyncio.sleep(0)

    def drop(self) -> None:
        """Close every connection, as a restart does."""
        for writer in list(self._writers):
            writer.close()

    async def _serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._writers.add(writer)
        try:
            with contextlib.suppress(EOFError, OSError):
                first = await _frame(reader)
                if first["op"] == "call":
                    await self._call(first["warrant"], reader, writer)
                else:
                    self.controls += 1
                    await self._control(reader, writer)
        finally:
            self._writers.discard(writer)
            writer.close()

    async def _call(
        self, jws: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        if self.silent:
            await reader.read()
            return
        if self.refuse:
            error = {"code": self.refuse, "detail": "as the test wants it"}
            writer.write(pack({"ok": False, "error": error}))
            await writer.drain()
            return
        self.warrants.append(claims_of(jws)["jti"])
        self.open_calls += 1
        writer.write(pack({"ok": True}))
        try:
            while True:
                await self._exchange(reader, writer)
        finally:
            self.open_calls -= 1

    async def _exchange(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("ascii")
        first, *lines = head.rstrip().split("\r\n")
        method, target, _ = first.split(" ")
        headers = dict(line.lower().split(": ", 1) for line in lines)
        raw = await reader.readexactly(int(headers.get("content-length", "0")))
        seen = Seen(method, target, headers, json.loads(raw) if raw else None)
        self.seen.append(seen)
        status, answer = self.upstream(seen)
        if not isinstance(answer, bytes):
            body = json.dumps(answer).encode()
            answer = (
                f"HTTP/1.1 {status} \r\ncontent-length: {len(body)}\r\n"
                "content-type: application/json\r\n\r\n"
            ).encode() + body
        writer.write(answer)
        await writer.drain()

    async def _control(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        while True:
            question = await _frame(reader)
            writer.write(pack(self._answer(question)))
            await writer.drain()

    def _answer(self, question: dict[str, Any]) -> dict[str, Any]:
        if question["op"] == "hello":
            claims = {"iss": "edge-1", "boot": "boot-1", "nonce": question["nonce"]}
            return {
                "ok": True,
                "edge_hello": token("counterfoil-edge-hello+jwt", claims),
            }
        self.receipts.append(question["warrant"])
        if self.without_receipts:
            return {"ok": False, "error": {"code": "unknown", "detail": "none"}}
        sent = question["warrant"] in self.warrants
        claims = {
            "warrant": question["warrant"],
            "nonce": question.get("nonce", ""),
            "state": "answered" if sent else "not_sent",
        }
        return {"ok": True, "receipt": token("counterfoil-receipt+jwt", claims)}


async def _frame(reader: asyncio.StreamReader) -> dict[str, Any]:
    size = int.from_bytes(await reader.readexactly(HEADER_BYTES), "big")
    message: dict[str, Any] = json.loads(await reader.readexactly(size))
    return message


@dataclass
class RunnerClient:
    """A broker's connection to the runner: one question at a time."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    @classmethod
    async def connect(cls, path: Path) -> RunnerClient:
        return cls(*await asyncio.open_unix_connection(str(path)))

    async def ask(self, message: Any) -> dict[str, Any]:
        """Send a frame and return the answer."""
        self.writer.write(pack(message))
        await self.writer.drain()
        return await _frame(self.reader)

    async def run(self, jws: str, *, deadline_ms: Any = 10_000) -> dict[str, Any]:
        """Have a warrant run."""
        return await self.ask({"op": "run", "warrant": jws, "deadline_ms": deadline_ms})

    def close(self) -> None:
        self.writer.close()


def write_catalog(
    catalog: Path,
    code: str,
    *,
    tools: dict[str, dict[str, Any]],
    connector: str = "shop",
) -> None:
    """Write a connector, and for each function a manifest with what differs in it."""
    folder = catalog / connector
    folder.mkdir(parents=True)
    (folder / "connector.py").write_text(code, "utf-8")
    for entry, differs in tools.items():
        plain = {
            "name": f"{connector}.{entry}",
            "connector": connector,
            "effect": "read",
            "entry": entry,
            "timeout_s": 10,
        }
        lines = [
            f"{name} = {json.dumps(value)}"
            for name, value in {**plain, **differs}.items()
        ]
        text = "\n".join(["[tool]", *lines, ""])
        (folder / f"{entry}.toml").write_text(text, "utf-8")
