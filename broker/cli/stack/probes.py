"""Ask a part whether it is ready, in at most ``PROBE_S_MAX`` seconds."""

import asyncio
import struct
from pathlib import Path
from typing import assert_never

from broker.cli.stack.parts import (
    Ends,
    FileExists,
    PageAnswers,
    PostgresAsks,
    Probe,
    SocketAnswers,
    ValkeyAnswers,
)

PROBE_S_MAX = 2.0
_PROTOCOL_3_0 = 196608


async def answers(probe: Probe) -> bool:
    """Tell whether the part is ready now; a part that is late is not."""
    try:
        async with asyncio.timeout(PROBE_S_MAX):
            return await _ask(probe)
    except (OSError, TimeoutError, asyncio.IncompleteReadError):
        return False


async def _ask(probe: Probe) -> bool:
    match probe:
        case FileExists(path):
            return path.exists()
        case SocketAnswers(path):
            return await _exchange_unix(path, b"", answer_bytes=0) == b""
        case PageAnswers(host, port, path):
            reader, writer = await asyncio.open_connection(host, port)
            request = f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\n"
            try:
                writer.write((request + "Connection: close\r\n\r\n").encode("ascii"))
                return b" 200 " in await reader.readline()
            finally:
                writer.close()
        case PostgresAsks(path, user):
            pairs = f"user\0{user}\0database\0postgres\0\0".encode()
            head = struct.pack("!II", len(pairs) + 8, _PROTOCOL_3_0)
            return await _exchange_unix(path, head + pairs, answer_bytes=1) == b"R"
        case ValkeyAnswers(path, password_file):
            password = password_file.read_text("utf-8").strip()
            request = f"AUTH {password}\r\nPING\r\n"
            expected = b"+OK\r\n+PONG\r\n"
            got = await _exchange_unix(
                path, request.encode(), answer_bytes=len(expected)
            )
            return got == expected
        case Ends():
            return False
        case _:
            assert_never(probe)


async def _exchange_unix(path: Path, request: bytes, *, answer_bytes: int) -> bytes:
    """Send a request and return the first bytes of what comes back."""
    reader, writer = await asyncio.open_unix_connection(path)
    try:
        writer.write(request)
        return await reader.readexactly(answer_bytes)
    finally:
        writer.close()
