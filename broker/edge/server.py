"""Listen on the unix socket: calls of connectors, and questions of the runner.

The first frame says what a connection is for. A call's connection then speaks HTTP; a
control connection goes on in frames. Whoever connects must run as the edge's own user.
"""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from typing import TYPE_CHECKING, Any, Final

import structlog

from broker.core.canonical import CanonicalError
from broker.core.frames import (
    HEADER_BYTES,
    FrameError,
    body_bytes,
    decode_body,
    encode_frame,
)
from broker.edge.calls import Means, serve
from broker.edge.desk import MALFORMED, AnswerError, Desk
from broker.edge.egress.wire import HEAD_BYTES_MAX, Child
from broker.edge.warrants import RefusedError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from broker.edge.notices import Courier

REQUEST_BYTES_MAX: Final = 131_072
"""A frame to the edge: a warrant and little else."""

REPLY_BYTES_MAX: Final = 131_072
"""A frame from the edge: a receipt and little else."""

FRAME_S_MAX: Final = 5.0
"""From connecting to the end of the first frame."""

CONNECTIONS_MAX: Final = 512
DRAIN_S_MAX: Final = 6.0
_PEER = struct.Struct("3i")
_OWNER_ONLY = 0o600

_log = structlog.get_logger()


class Server:
    """The edge's socket."""

    def __init__(
        self, desk: Desk, means: Means, *, courier: Courier, path: Path
    ) -> None:
        """Serve ``desk``'s calls with ``means`` once it was started."""
        self._desk = desk
        self._courier = courier
        self._means = means
        self._path = path
        self._server: asyncio.Server | None = None
        self._open: dict[asyncio.StreamWriter, asyncio.Task[None] | None] = {}

    async def start(self) -> None:
        """Bind the socket, for this user alone, and begin to listen.

        A socket that is left from a dead process is replaced; the caller holds the lock
        that says that no live one has it.
        """
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._path.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        before = os.umask(0o177)
        try:
            listener.bind(str(self._path))
        finally:
            os.umask(before)
        self._path.chmod(_OWNER_ONLY)
        self._server = await asyncio.start_unix_server(
            self._connected, sock=listener, limit=HEAD_BYTES_MAX, backlog=256
        )

    async def stop(self) -> None:
        """Take no more calls, let those at work finish for a moment, and close."""
        self._desk.draining = True
        try:
            async with asyncio.timeout(DRAIN_S_MAX):
                await self._desk.quiet.wait()
        except TimeoutError:
            _log.warning("drained", left=self._desk.live)
        if self._server is not None:
            self._server.close()
            self._path.unlink(missing_ok=True)
        serving = [task for task in self._open.values() if task is not None]
        for writer in self._open:
            writer.transport.abort()
        if serving:
            await asyncio.wait(serving, timeout=1.0)

    async def _connected(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._open[writer] = asyncio.current_task()
        try:
            if self._admits(writer):
                await self._first(reader, writer)
        except (OSError, EOFError, TimeoutError):
            pass  # The peer left, or said nothing: there is nobody to tell.
        except (FrameError, CanonicalError):
            _log.info("frame_refused")
        except Exception as error:  # noqa: BLE001  (its text could quote what was sent)
            _log.error("defect", problem=type(error).__name__)
        finally:
            del self._open[writer]
            writer.close()

    def _admits(self, writer: asyncio.StreamWriter) -> bool:
        sock = writer.get_extra_info("socket")
        peer = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size)
        pid, uid, _ = _PEER.unpack(peer)
        if uid == os.geteuid() and len(self._open) <= CONNECTIONS_MAX:
            return True
        _log.warning("peer_refused", uid=uid, pid=pid, open=len(self._open))
        return False

    async def _first(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        async with asyncio.timeout(FRAME_S_MAX):
            frame = await _read(reader)
        match frame:
            case {"op": "call", "warrant": str() as token, **rest} if not rest:
                await self._call(token, reader, writer)
            case {"op": "control", **rest} if not rest:
                while True:
                    await _write(writer, await self._control(await _read(reader)))
            case _:
                await _write(writer, _refusal(MALFORMED, "no such operation"))

    async def _call(
        self,
        token: str,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        try:
            call = await self._desk.accept(token)
        except RefusedError as error:
            _log.info("warrant_refused", code=error.code, detail=error.detail)
            await _write(writer, _refusal(error.code, error.detail))
            return
        call.hang_up = writer.transport.abort
        try:
            await _write(writer, {"ok": True})
            left_s = self._desk.seconds_left(call.order)
            deadline = asyncio.get_running_loop().time() + left_s
            await serve(call, Child(reader, writer), self._means, deadline=deadline)
        finally:
            self._desk.left(call)

    async def _control(self, frame: Mapping[str, Any]) -> dict[str, Any]:
        try:
            match frame:
                case {"op": "receipt", "warrant": str() as warrant, **rest} if not rest:
                    return {"ok": True, "receipt": await self._desk.receipt(warrant)}
                case {
                    "op": "ask",
                    "warrant": str() as warrant,
                    "action": str() as action,
                    "nonce": str() as nonce,
                    **rest,
                } if not rest:
                    asked = self._desk.ask(warrant, action_id=action, nonce=nonce)
                    return {"ok": True, "receipt": await asked}
                case {"op": "hello", "nonce": str() as nonce, **rest} if not rest:
                    return {"ok": True, "edge_hello": self._desk.hello(nonce)}
                case {"op": "notice", "order": str() as order, **rest} if not rest:
                    return {"ok": True, "receipt": await self._courier.carry(order)}
                case _:
                    return _refusal(MALFORMED, "no such operation")
        except (AnswerError, RefusedError) as error:
            return _refusal(error.code, error.detail)


async def _read(reader: asyncio.StreamReader) -> dict[str, Any]:
    """Return the next frame.

    Raises:
        EOFError: The peer has ended the connection.
        FrameError: The frame is malformed, or longer than REQUEST_BYTES_MAX.
        CanonicalError: It holds no strict JSON.
    """
    header = await reader.readexactly(HEADER_BYTES)
    size = body_bytes(header, frame_max=REQUEST_BYTES_MAX)
    return decode_body(await reader.readexactly(size), frame_max=REQUEST_BYTES_MAX)


async def _write(writer: asyncio.StreamWriter, message: Mapping[str, Any]) -> None:
    writer.write(encode_frame(message, frame_max=REPLY_BYTES_MAX))
    await writer.drain()


def _refusal(code: str, detail: str) -> dict[str, Any]:
    return {"ok": False, "error": {"code": code, "detail": detail}}
