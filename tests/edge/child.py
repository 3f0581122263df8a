"""The child's end of a call, and the runner's: raw bytes out, answers in."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import Any

from broker.core.frames import HEADER_BYTES
from tests.edge.fake_upstream import CUSTOMER


class Drop:
    """Stands for a field that is left out; its name is the same in every process."""

    def __repr__(self) -> str:
        return "DROP"


DROP = Drop()
ACTION = "0199aaaa-0000-7000-8000-000000000001"


@dataclass
class Answered:
    """A response as the child got it."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Child:
    """The child's end of a call: raw bytes out, responses in."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def read(self) -> Answered | None:
        """Return the next response, or None when the edge has hung up."""
        try:
            head = await self.reader.readuntil(b"\r\n\r\n")
        except (asyncio.IncompleteReadError, ConnectionError):
            return None
        first, *lines = head.decode("latin-1").rstrip().split("\r\n")
        headers = dict(line.split(": ", 1) for line in lines)
        headers = {name.lower(): value for name, value in headers.items()}
        body = await self.reader.readexactly(int(headers.get("content-length", "0")))
        return Answered(int(first.split(" ")[1]), headers, body)

    async def ask(
        self, method: str, target: str, body: Any = None, **headers: str
    ) -> Answered | None:
        """Send a plain request and return the response."""
        await self.send(plain(method, target, body, **headers))
        return await self.read()

    async def refund(self, **changes: Any) -> Answered | None:
        """Send the decided refund, or one that differs from it."""
        body = {**refund_body(), **changes}
        body = {name: value for name, value in body.items() if value is not DROP}
        return await self.ask("POST", "/orders/W1/refunds", body)

    async def hung_up(self) -> bool:
        """Return whether the edge ends the connection within a moment."""
        try:
            async with asyncio.timeout(5):
                return await self.reader.read() == b""
        except ConnectionError:
            return True

    def close(self) -> None:
        self.writer.close()


def refund_body(action: str = "") -> dict[str, Any]:
    """Return the body that the manifest makes of the decision."""
    return {
        "amount": 500,
        "currency": "USD",
        "customer": CUSTOMER,
        "reference": action or ACTION,
    }


def plain(method: str, target: str, body: Any = None, **headers: str) -> bytes:
    """Return a request as a connector's client writes it."""
    lines = [f"{method} {target} HTTP/1.1", "host: edge", "accept: application/json"]
    data = b""
    if body is not None:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        lines.append("content-type: application/json")
        lines.append(f"content-length: {len(data)}")
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + data


async def ask_frame(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, message: Any
) -> Any:
    """Send a frame and return the next one."""
    writer.write(frame(message))
    await writer.drain()
    return await read_frame(reader)


def frame(message: Any) -> bytes:
    body = json.dumps(message).encode()
    return len(body).to_bytes(HEADER_BYTES, "big") + body


async def read_frame(reader: asyncio.StreamReader) -> Any:
    size = int.from_bytes(await reader.readexactly(HEADER_BYTES), "big")
    return json.loads(await reader.readexactly(size))
