"""Listen on a unix socket and answer one frame after the other."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from broker.core.canonical import CanonicalError
from broker.core.frames import (
    HEADER_BYTES,
    FrameError,
    body_bytes,
    decode_body,
    encode_frame,
)
from broker.core.transparency.signing import SIGNER_FRAME_MAX
from broker.signer.files import DamagedError

if TYPE_CHECKING:
    from broker.signer.notary import Notary

CLIENTS_MAX: Final = 32
"""Most connections at a time; each broker replica holds one."""

BODY_S_MAX: Final = 2.0
"""A message that was begun must be complete within this time."""

_SOCKET_MODE = 0o600


async def serve(notary: Notary, *, socket: str) -> None:
    """Serve until SIGTERM or SIGINT.

    Args:
        notary: What answers.
        socket: Path to listen on; a file that an earlier signer left is replaced.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    clients = _Clients(notary)
    _remove(socket)
    server = await asyncio.start_unix_server(clients.serve, socket)
    _restrict(socket)
    say("listening", origin=notary.head.log.name, size=notary.head.last.size)
    async with server:
        await stop.wait()
        server.close()
        clients.close()
    _remove(socket)
    say("stopped")


def _remove(socket: str) -> None:
    # The lock on the signer's folder says that no other signer listens there.
    Path(socket).unlink(missing_ok=True)


def _restrict(socket: str) -> None:
    Path(socket).chmod(_SOCKET_MODE)


class _Clients:
    def __init__(self, notary: Notary) -> None:
        self._notary = notary
        self._open: set[asyncio.StreamWriter] = set()

    async def serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        if len(self._open) >= CLIENTS_MAX:
            say("too_many_clients", clients_max=CLIENTS_MAX)
            writer.close()
            return
        self._open.add(writer)
        try:
            while (message := await _message(reader)) is not None:
                answer = self._answer(message)
                writer.write(encode_frame(answer, frame_max=SIGNER_FRAME_MAX))
                await writer.drain()
        except (FrameError, CanonicalError, TimeoutError) as error:
            # A peer that breaks the form is not answered; there is no next message.
            say("bad_frame", why=str(error))
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            self._open.discard(writer)
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    def close(self) -> None:
        for writer in self._open:
            writer.close()

    def _answer(self, message: dict[str, Any]) -> dict[str, Any]:
        try:
            answer = self._notary.answer(message)
        except (OSError, DamagedError) as error:
            answer = {
                "ok": False,
                "error": {"code": "unavailable", "detail": str(error)},
            }
        if not answer["ok"]:
            say("refused", **answer["error"])
        return answer


async def _message(reader: asyncio.StreamReader) -> dict[str, Any] | None:
    """Return the next message, or None when the peer is done."""
    try:
        header = await reader.readexactly(HEADER_BYTES)
    except asyncio.IncompleteReadError as error:
        if error.partial:
            raise
        return None
    size = body_bytes(header, frame_max=SIGNER_FRAME_MAX)
    async with asyncio.timeout(BODY_S_MAX):
        body = await reader.readexactly(size)
    return decode_body(body, frame_max=SIGNER_FRAME_MAX)


def say(event: str, **fields: str | int) -> None:
    """Write one line of JSON to the log of this process."""
    line = json.dumps({"part": "signer", "event": event, **fields})
    sys.stderr.write(line + "\n")
    sys.stderr.flush()
