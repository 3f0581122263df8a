"""Proxy connections to one address for those who know a password.

Temporal's server knows no passwords; this stands in front of it on a unix socket that
only its owner can open, and asks for one by CONNECT and basic authentication.

Source: RFC 9110, section 9.3.6 (CONNECT) and 11.7 (Proxy-Authorization); RFC 7617.
"""

import asyncio
import base64
import binascii
import contextlib
import hmac
import json
import socket
from collections.abc import AsyncIterator
from pathlib import Path

HEAD_BYTES_MAX = 8192
HEAD_S_MAX = 5.0
CONNECTIONS_MAX = 64
CHUNK_BYTES = 65536
_END = b"\r\n\r\n"


class Credentials:
    """Users and the files that hold their passwords, read at each check.

    The file named at construction is a JSON object from user name to path, so that no
    password stands on a command line.
    """

    def __init__(self, path: Path) -> None:
        """Remember where the list stands."""
        self._path = path

    def accept(self, authorization: str) -> bool:
        """Tell whether a Proxy-Authorization value names a user and their password."""
        scheme, _, encoded = authorization.partition(" ")
        if scheme.lower() != "basic":
            return False
        try:
            decoded = base64.b64decode(encoded.strip(), validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            return False
        user, _, password = decoded.partition(":")
        files: dict[str, str] = json.loads(self._path.read_text("utf-8"))
        if user not in files:
            return False
        expected = Path(files[user]).read_text("utf-8").rstrip("\n")
        return bool(expected) and hmac.compare_digest(
            expected.encode(), password.encode()
        )


class ConnectProxy:
    """A proxy to exactly one address.

    A head has at most ``HEAD_BYTES_MAX`` bytes and ``HEAD_S_MAX`` seconds. Who asks
    without a password gets 407, for another address 403; while the address does not
    answer it is 502, and 503 with ``CONNECTIONS_MAX`` connections open.
    """

    def __init__(self, *, target: tuple[str, int], credentials: Credentials) -> None:
        """Serve connections to ``target``, a host and a port."""
        self._target = target
        self._credentials = credentials
        self._open: set[asyncio.Future[None]] = set()

    @contextlib.asynccontextmanager
    async def serving(self, listener: socket.socket) -> AsyncIterator[None]:
        """Serve who connects to a bound socket while the block runs."""
        server = await asyncio.start_unix_server(
            self._serve, sock=listener, limit=HEAD_BYTES_MAX - len(_END)
        )
        try:
            yield
        finally:
            server.close()
            for task in self._open:
                task.cancel()
            await asyncio.gather(*self._open, return_exceptions=True)

    async def _serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Serve one connection in a task that is known, so that it can be ended."""
        task = asyncio.ensure_future(self._answer(reader, writer))
        self._open.add(task)
        try:
            await asyncio.wait({task})
        finally:
            self._open.discard(task)

    async def _answer(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        try:
            if len(self._open) > CONNECTIONS_MAX:
                await _refuse(writer, "503 Service Unavailable")
                return
            head = await asyncio.wait_for(reader.readuntil(_END), HEAD_S_MAX)
            status = self._judge(head.decode("latin-1"))
            if status:
                await _refuse(writer, status)
            else:
                await self._connect(reader, writer)
        except (
            OSError,
            TimeoutError,
            asyncio.IncompleteReadError,
            asyncio.LimitOverrunError,
        ):
            # Gone, late or too long: there is nobody to tell.
            return
        finally:
            await _closed(writer)

    async def _connect(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        try:
            upstream_reader, upstream_writer = await asyncio.open_connection(
                *self._target
            )
        except OSError:
            await _refuse(writer, "502 Bad Gateway")
            return
        try:
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            await _splice((reader, upstream_writer), (upstream_reader, writer))
        finally:
            await _closed(upstream_writer)

    def _judge(self, head: str) -> str:
        """Return the status of a refusal, or nothing for a connection."""
        request, *lines = head.split("\r\n")
        method, _, rest = request.partition(" ")
        target = rest.partition(" ")[0]
        if method != "CONNECT":
            return "405 Method Not Allowed"
        given = [
            value.strip()
            for name, _, value in (line.partition(":") for line in lines)
            if name.strip().lower() == "proxy-authorization"
        ]
        if len(given) != 1 or not self._credentials.accept(given[0]):
            return "407 Proxy Authentication Required"
        host, port = self._target
        return "" if target == f"{host}:{port}" else "403 Forbidden"


def bound(path: Path) -> socket.socket:
    """Return a socket at ``path`` that only its owner can connect to."""
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(path))
    path.chmod(0o600)
    return listener


async def _closed(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()


async def _refuse(writer: asyncio.StreamWriter, status: str) -> None:
    lines = [f"HTTP/1.1 {status}", "Content-Length: 0", "Connection: close"]
    if status.startswith("407"):
        lines.append('Proxy-Authenticate: Basic realm="temporal"')
    writer.write(("\r\n".join(lines) + "\r\n\r\n").encode("ascii"))
    await writer.drain()


async def _splice(
    *ways: tuple[asyncio.StreamReader, asyncio.StreamWriter],
) -> None:
    """Copy both ways until either end closes."""
    copies = [asyncio.create_task(_copy(reader, writer)) for reader, writer in ways]
    try:
        await asyncio.wait(copies, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for copy in copies:
            copy.cancel()
        await asyncio.gather(*copies, return_exceptions=True)


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while chunk := await reader.read(CHUNK_BYTES):
        writer.write(chunk)
        await writer.drain()
