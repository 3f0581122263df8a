"""Stand between the edge and the provider, and lose what passes, before or after."""

from __future__ import annotations

import asyncio
import random
import re
from collections import Counter
from contextlib import suppress
from enum import StrEnum

HEAD_BYTES_MAX = 64 * 1024
_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
_UNAVAILABLE = b"HTTP/1.1 503 Down\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
_FAILED = b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


class Fault(StrEnum):
    """What happens to a refund on its way."""

    NONE = "none"
    LOST_BEFORE = "dropped before it was done"
    LOST_AFTER = "dropped after it was done"
    CUT_SHORT = "answer cut in half"
    HANGS_BEFORE = "no answer, not done"
    HANGS_AFTER = "no answer, done"
    FAILS_BEFORE = "503, not done"
    FAILS_AFTER = "500, done"


class FaultyLine:
    """A proxy whose faults meet refunds, by a seed; everything else passes."""

    def __init__(
        self, port: int, *, seed: int, share: float, hang_s: float = 12.0
    ) -> None:
        """Pass on to ``port``; ``share`` of all refunds meet a fault."""
        self._port = port
        self._random = random.Random(seed)
        self.share = share
        self._hang_s = hang_s
        self.met: Counter[Fault] = Counter()
        self.url = ""
        self._lines: set[asyncio.StreamWriter] = set()

    async def start(self) -> None:
        """Listen on a free port of loopback."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        port = self._server.sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"

    async def close(self) -> None:
        """Stop listening."""
        self._server.close()
        for writer in self._lines:
            writer.transport.abort()
        await self._server.wait_closed()
        await asyncio.sleep(0)

    async def _serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._lines.add(writer)
        # Cancelled is what a line becomes that is open when the run ends.
        with suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            while True:
                request = await _message(reader)
                if not await self._pass(request, writer):
                    break
        writer.transport.abort()
        self._lines.discard(writer)

    async def _pass(self, request: bytes, writer: asyncio.StreamWriter) -> bool:
        """Answer one request, or not; return whether another one may follow."""
        fault = self._fault(request)
        if fault is Fault.FAILS_BEFORE:
            writer.write(_UNAVAILABLE)
            await writer.drain()
        if fault is Fault.HANGS_BEFORE:
            await asyncio.sleep(self._hang_s)
        if fault in {Fault.LOST_BEFORE, Fault.FAILS_BEFORE, Fault.HANGS_BEFORE}:
            return False
        answer = await self._forward(request)
        if fault is Fault.HANGS_AFTER:
            await asyncio.sleep(self._hang_s)
        if fault in {Fault.LOST_AFTER, Fault.HANGS_AFTER}:
            return False
        if fault is Fault.FAILS_AFTER:
            answer = _FAILED
        if fault is Fault.CUT_SHORT:
            answer = answer[: len(answer) // 2]
        writer.write(answer)
        await writer.drain()
        return fault is Fault.NONE

    def _fault(self, request: bytes) -> Fault:
        if not request.startswith(b"POST /v1/refunds "):
            return Fault.NONE
        found = Fault.NONE
        if self._random.random() < self.share:
            found = self._random.choice([one for one in Fault if one is not Fault.NONE])
        self.met[found] += 1
        return found

    async def _forward(self, request: bytes) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        try:
            writer.write(request)
            await writer.drain()
            return await _message(reader)
        finally:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()


async def _message(reader: asyncio.StreamReader) -> bytes:
    """Return one request or answer: its head, and as much body as the head says."""
    head = await reader.readuntil(b"\r\n\r\n")
    found = _LENGTH.search(head)
    return head + await reader.readexactly(int(found[1]) if found else 0)
