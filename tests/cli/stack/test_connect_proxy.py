"""The proxy lets those through who know a password, to one address, within limits."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import socketserver
import threading

import pytest
import pytest_asyncio

from broker.cli.stack.servers.connect_proxy import (
    CONNECTIONS_MAX,
    HEAD_BYTES_MAX,
    HEAD_S_MAX,
    ConnectProxy,
    Credentials,
    bound,
)


def basic(user: str, password: str) -> str:
    encoded = base64.b64encode(f"{user}:{password}".encode()).decode()
    return f"Basic {encoded}"


@pytest.fixture
def users(tmp_path):
    (tmp_path / "worker").write_text("right\n")
    path = tmp_path / "users.json"
    path.write_text(json.dumps({"worker": str(tmp_path / "worker")}))
    return path


class Echo(socketserver.StreamRequestHandler):
    """Says everything twice."""

    def handle(self) -> None:
        for line in self.rfile:
            self.wfile.write(line + line)


class Server(socketserver.ThreadingTCPServer):
    daemon_threads = False
    request_queue_size = 128


@pytest.fixture
def echo():
    """Yield the port of a server that says everything twice."""
    with Server(("127.0.0.1", 0), Echo) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,)).start()
        yield server.server_address[1]
        server.shutdown()


@pytest_asyncio.fixture
async def proxy(tmp_path, users, echo):
    """Yield the path of a proxy to the echo server."""
    path = tmp_path / "proxy.sock"
    serving = ConnectProxy(target=("127.0.0.1", echo), credentials=Credentials(users))
    async with serving.serving(bound(path)):
        yield path


async def ask(path, head: str):
    reader, writer = await asyncio.open_unix_connection(path)
    writer.write(head.encode())
    return reader, writer


async def close(writer) -> None:
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()


async def status(path, head: str) -> str:
    reader, writer = await ask(path, head)
    try:
        line: bytes = await reader.readline()
        return line.decode().strip()
    finally:
        await close(writer)


def connect(port: int, authorization: str | None, *, host: str = "127.0.0.1") -> str:
    lines = [f"CONNECT {host}:{port} HTTP/1.1", f"Host: {host}:{port}"]
    if authorization is not None:
        lines.append(f"Proxy-Authorization: {authorization}")
    return "\r\n".join(lines) + "\r\n\r\n"


async def test_who_knows_a_password_is_connected_both_ways(proxy, echo) -> None:
    reader, writer = await ask(proxy, connect(echo, basic("worker", "right")))
    assert b" 200 " in await reader.readuntil(b"\r\n\r\n")
    writer.write(b"hello\n")
    assert await reader.readexactly(12) == b"hello\nhello\n"
    await close(writer)


@pytest.mark.parametrize(
    "authorization",
    [
        None,
        "",
        basic("worker", "wrong"),
        basic("worker", ""),
        basic("nobody", "right"),
        basic("", "right"),
        "Basic !!!",
        "Basic " + base64.b64encode(b"\xff\xfe").decode(),
        "Bearer right",
        basic("worker", "right") + "\r\nProxy-Authorization: Basic eDp5",
    ],
)
async def test_who_does_not_is_refused(proxy, echo, authorization) -> None:
    answer = await status(proxy, connect(echo, authorization))
    assert answer == "HTTP/1.1 407 Proxy Authentication Required"


async def test_only_one_address_can_be_reached(proxy, echo) -> None:
    authorization = basic("worker", "right")
    for head in (
        connect(echo + 1, authorization),
        connect(echo, authorization, host="localhost"),
        connect(echo, authorization, host="[::1]"),
    ):
        assert await status(proxy, head) == "HTTP/1.1 403 Forbidden"


async def test_nothing_but_connect_is_answered(proxy, echo) -> None:
    head = connect(echo, basic("worker", "right")).replace("CONNECT", "GET")
    assert await status(proxy, head) == "HTTP/1.1 405 Method Not Allowed"


async def test_a_server_that_is_down_is_said_to_be(tmp_path, users) -> None:
    path = tmp_path / "proxy.sock"
    down = ConnectProxy(target=("127.0.0.1", 1), credentials=Credentials(users))
    async with down.serving(bound(path)):
        head = connect(1, basic("worker", "right"))
        assert await status(path, head) == "HTTP/1.1 502 Bad Gateway"


async def test_a_head_at_the_limit_is_read_and_one_byte_more_is_not(
    proxy, echo
) -> None:
    head = connect(echo, basic("worker", "right")).removesuffix("\r\n")
    filler = "X: " + "x" * (HEAD_BYTES_MAX - len(head) - 5 - 2) + "\r\n\r\n"
    assert len(head + filler) == HEAD_BYTES_MAX
    assert " 200 " in await status(proxy, head + filler)
    assert await status(proxy, head + "x" + filler) == ""


async def test_a_head_that_does_not_come_is_not_waited_for_for_long(proxy) -> None:
    reader, writer = await ask(proxy, "CONNECT ")
    async with asyncio.timeout(HEAD_S_MAX + 2):
        assert await reader.read() == b""
    await close(writer)


async def test_one_connection_past_the_limit_is_closed_at_once(proxy, echo) -> None:
    head = connect(echo, basic("worker", "right"))
    held = [await ask(proxy, head) for _ in range(CONNECTIONS_MAX)]
    for reader, _ in held:
        assert b" 200 " in await reader.readline()
    assert await status(proxy, head) == "HTTP/1.1 503 Service Unavailable"
    for _, writer in held:
        await close(writer)
    await asyncio.sleep(0.05)
    assert " 200 " in await status(proxy, head)


async def test_the_socket_is_its_owners_alone(proxy) -> None:
    assert proxy.stat().st_mode & 0o777 == 0o600
