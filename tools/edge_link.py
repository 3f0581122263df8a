"""Speak to the edge: open a call's connection under a warrant, and ask for receipts."""

import asyncio
import contextlib
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from tools import frames, limits

_IDLE_CONNECTIONS: Final = 8


class EdgeRefusedError(Exception):
    """The edge said no; ``code`` is its word for why."""

    def __init__(self, code: str) -> None:
        """Keep the edge's code."""
        super().__init__(code)
        self.code = code


class EdgeUnavailableError(Exception):
    """The edge did not answer, or not in its protocol."""


class EdgeLink:
    """The way to the edge's socket, with a pool of control connections."""

    def __init__(self, path: Path) -> None:
        """Speak to the edge that listens at a path; nothing is opened yet."""
        self._path = path
        self._idle: list[socket.socket] = []

    async def open_call(self, warrant: str) -> socket.socket:
        """Show a warrant; return the connection that the edge opened for it, blocking.

        Raises:
            EdgeRefusedError: The edge does not accept the warrant.
            EdgeUnavailableError: It cannot be said whether it did.
        """
        peer = await self._connect()
        try:
            await _ask(peer, {"op": "call", "warrant": warrant})
        except BaseException:
            peer.close()
            raise
        # Only the child uses it from here on, without a loop.
        peer.settimeout(None)
        return peer

    async def receipt(self, warrant_id: str) -> str:
        """Return the receipt for a warrant that was accepted; errors as `control`."""
        return _text(
            await self.control({"op": "receipt", "warrant": warrant_id}), "receipt"
        )

    async def ask(self, *, warrant_id: str, action: str, nonce: str) -> str:
        """Return a receipt that carries a nonce; errors as `control`."""
        question = {
            "op": "ask",
            "warrant": warrant_id,
            "action": action,
            "nonce": nonce,
        }
        return _text(await self.control(question), "receipt")

    async def notice(self, order: str) -> str:
        """Have a notice carried, and return the receipt; errors as `control`.

        An order is spent once: where it is asked twice, the second time is refused.
        """
        return _text(await self.control({"op": "notice", "order": order}), "receipt")

    async def hello(self, nonce: str) -> str:
        """Return the edge's signed greeting; errors as `control`."""
        return _text(await self.control({"op": "hello", "nonce": nonce}), "edge_hello")

    async def control(self, question: Mapping[str, object]) -> dict[str, object]:
        """Ask on a control connection.

        Raises:
            EdgeRefusedError: The edge has no such answer.
            EdgeUnavailableError: The edge did not answer.
        """
        try:
            async with asyncio.timeout(limits.EDGE_ANSWER_S_MAX):
                return await self._control(question)
        except TimeoutError:
            msg = "the edge did not answer in time"
            raise EdgeUnavailableError(msg) from None

    def close(self) -> None:
        """Close the pooled connections."""
        while self._idle:
            self._idle.pop().close()

    async def _control(self, question: Mapping[str, object]) -> dict[str, object]:
        while self._idle:
            peer = self._idle.pop()
            # A pooled connection may have been closed by an edge that was restarted.
            # Asking twice does no harm: a question changes nothing that stands.
            with contextlib.suppress(EdgeUnavailableError):
                return await self._asked(peer, question)
        peer = await self._connect()
        try:
            await _send(peer, {"op": "control"})
        except BaseException:
            peer.close()
            raise
        return await self._asked(peer, question)

    async def _asked(
        self, peer: socket.socket, question: Mapping[str, object]
    ) -> dict[str, object]:
        try:
            answer = await _ask(peer, question)
        except EdgeRefusedError:
            self._put_back(peer)
            raise
        except BaseException:
            peer.close()
            raise
        self._put_back(peer)
        return answer

    def _put_back(self, peer: socket.socket) -> None:
        if len(self._idle) < _IDLE_CONNECTIONS:
            self._idle.append(peer)
        else:
            peer.close()

    async def _connect(self) -> socket.socket:
        peer = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        peer.settimeout(0)
        try:
            async with asyncio.timeout(limits.EDGE_ANSWER_S_MAX):
                await asyncio.get_running_loop().sock_connect(peer, str(self._path))
        except (OSError, TimeoutError):
            peer.close()
            msg = "the edge does not listen"
            raise EdgeUnavailableError(msg) from None
        except BaseException:
            peer.close()
            raise
        return peer


async def _ask(
    peer: socket.socket, question: Mapping[str, object]
) -> dict[str, object]:
    """Send a frame and return the answer, if it says that all is well."""
    await _send(peer, question)
    try:
        async with asyncio.timeout(limits.EDGE_ANSWER_S_MAX):
            header = await _exactly(peer, frames.HEADER_BYTES)
            count = frames.size(header, bytes_max=limits.EDGE_FRAME_BYTES_MAX)
            body = await _exactly(peer, count)
        answer = frames.decode(body, depth_max=limits.FRAME_DEPTH_MAX)
    except (OSError, TimeoutError, frames.FrameError) as error:
        msg = f"the edge did not answer: {type(error).__name__}"
        raise EdgeUnavailableError(msg) from error
    if answer.get("ok") is True:
        return answer
    match answer.get("error"):
        case {"code": str() as code}:
            raise EdgeRefusedError(code[: limits.ERROR_CODE_CHARS_MAX])
        case _:
            msg = "the edge answered neither yes nor no"
            raise EdgeUnavailableError(msg)


async def _send(peer: socket.socket, message: Mapping[str, object]) -> None:
    data = frames.encode(message, bytes_max=limits.REQUEST_BYTES_MAX)
    try:
        async with asyncio.timeout(limits.EDGE_ANSWER_S_MAX):
            await asyncio.get_running_loop().sock_sendall(peer, data)
    except (OSError, TimeoutError) as error:
        msg = "the edge does not listen"
        raise EdgeUnavailableError(msg) from error


async def _exactly(peer: socket.socket, count: int) -> bytes:
    loop = asyncio.get_running_loop()
    data = b""
    while len(data) < count:
        part = await loop.sock_recv(peer, count - len(data))
        if not part:
            msg = "the edge ended the connection"
            raise ConnectionResetError(msg)
        data += part
    return data


def _text(answer: Mapping[str, object], name: str) -> str:
    value = answer.get(name)
    if not isinstance(value, str):
        msg = f"the edge's answer has no {name}"
        raise EdgeUnavailableError(msg)
    return value
