"""An upstream whose answers a test decides."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import h11

CUSTOMER = "sofia_li_9219"


@dataclass
class Seen:
    """A request as the upstream got it."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Reply:
    """What the upstream answers; ``raw`` is sent as it is and ends the connection."""

    status: int = 200
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    raw: bytes | None = None
    delay_s: float = 0.0
    drop: bool = False
    drip_s: float = 0.0


def refunded(seen: Seen) -> Reply:
    """Answer as a CRM that does what it is asked."""
    if seen.method == "GET":
        return Reply(200, {"customer": CUSTOMER, "paid": 10_000})
    asked = seen.json
    return Reply(
        201,
        {
            "customer": asked.get("customer"),
            "amount": asked.get("amount"),
            "currency": asked.get("currency"),
            "order": {"paid": 10_000},
            "lines": ["first"],
        },
    )


class FakeUpstream:
    """An HTTP server whose answers a test decides; it keeps what it was sent."""

    def __init__(self) -> None:
        self.seen: list[Seen] = []
        self.connections = 0
        self.answer: Callable[[Seen], Reply] = refunded
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    @property
    def url(self) -> str:
        assert self._server is not None
        host, port = self._server.sockets[0].getsockname()[:2]
        return f"http://{host}:{port}"

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
            for writer in tuple(self._writers):
                writer.transport.abort()
            await self._server.wait_closed()

    async def _serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.connections += 1
        self._writers.add(writer)
        try:
            await self._speak(reader, writer)
        except (OSError, h11.RemoteProtocolError):
            pass
        finally:
            self._writers.discard(writer)
            writer.close()

    async def _speak(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        http = h11.Connection(h11.SERVER)
        while True:
            seen = await _request(http, reader)
            if seen is None:
                return
            self.seen.append(seen)
            reply = self.answer(seen)
            await asyncio.sleep(reply.delay_s)
            if reply.drop:
                writer.transport.abort()
                return
            if reply.raw is not None:
                writer.write(reply.raw)
                await writer.drain()
                return
            await _respond(http, writer, reply)
            http.start_next_cycle()


async def _request(http: h11.Connection, reader: asyncio.StreamReader) -> Seen | None:
    request, body = None, b""
    while True:
        event = http.next_event()
        if event is h11.NEED_DATA:
            data = await reader.read(65_536)
            if not data and request is None:
                return None
            http.receive_data(data)
        elif isinstance(event, h11.Request):
            request = event
        elif isinstance(event, h11.Data):
            body += bytes(event.data)
        elif isinstance(event, h11.EndOfMessage):
            assert request is not None
            headers = {n.decode(): v.decode() for n, v in request.headers}
            return Seen(request.method.decode(), request.target.decode(), headers, body)
        else:
            return None


async def _respond(
    http: h11.Connection, writer: asyncio.StreamWriter, reply: Reply
) -> None:
    body = reply.body if isinstance(reply.body, bytes) else b""
    headers = {"content-type": "application/json"} | reply.headers
    if not isinstance(reply.body, bytes) and reply.body is not None:
        body = json.dumps(reply.body).encode()
    headers.setdefault("content-length", str(len(body)))
    head = h11.Response(status_code=reply.status, headers=list(headers.items()))
    writer.write(http.send(head) or b"")
    for at in range(0, len(body), 1 if reply.drip_s else len(body) or 1):
        part = body[at : at + 1] if reply.drip_s else body
        writer.write(http.send(h11.Data(data=part)) or b"")
        await writer.drain()
        await asyncio.sleep(reply.drip_s)
    writer.write(http.send(h11.EndOfMessage()) or b"")
    await writer.drain()
