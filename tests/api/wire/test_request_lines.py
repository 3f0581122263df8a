"""Requests as bytes on a socket: what no client library would send."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING
from urllib.parse import urlencode

import pytest

from tests.support.identity.served import Desk, served_desk

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LEFT_S = 3.0
"""How long a connection is read from; an answer comes in milliseconds."""


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    folder: Path = tmp_path_factory.mktemp("desk")
    with served_desk(folder) as opened:
        yield opened


async def said(desk: Desk, request: bytes) -> tuple[int, str]:
    """Send bytes and no more; return the status of what came back, and all of it."""
    host, _, port = desk.url.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(request)
    await writer.drain()
    writer.write_eof()
    async with asyncio.timeout(LEFT_S):
        answer = (await reader.read()).decode()
    writer.close()
    return int(answer[9:12] or 0) if answer else 0, answer


def form_of(desk: Desk) -> bytes:
    """Return a token request that is as it should be."""
    assertion = desk.door.assertion(aud=desk.url)
    fields = desk.door.form(client_assertion=assertion, resource=f"{desk.url}/v1")
    return urlencode(fields).encode()


def asks(desk: Desk, length: str) -> bytes:
    """Return the head of a token request, with what it says of its length."""
    proof = desk.door.proof(url=f"{desk.url}/oauth/token")
    return (
        f"POST /oauth/token HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
        f"Content-Type: application/x-www-form-urlencoded\r\n"
        f"DPoP: {proof}\r\n{length}\r\n\r\n"
    ).encode()


async def got(desk: Desk) -> str:
    """Return an access token, over the same socket."""
    form = form_of(desk)
    _, answer = await said(desk, asks(desk, f"Content-Length: {len(form)}") + form)
    return str(json.loads(answer.partition("\r\n\r\n")[2])["access_token"])


async def called(desk: Desk, line: str, *, htu: str = "/v1/tools") -> int:
    """Call with a token and a proof for an address of ours; return the status."""
    door = desk.door
    token = await got(desk)
    htu = htu if "://" in htu else desk.url + htu
    proof = door.proof("GET", htu, token=token)
    head = (
        f"GET {line} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
        f"Authorization: DPoP {token}\r\nDPoP: {proof}\r\n\r\n"
    )
    return (await said(desk, head.encode()))[0]


@pytest.mark.parametrize(
    ("line", "htu", "status"),
    [
        ("/v1/tools", "/v1/tools", 200),
        ("/v1/tools?a=1", "/v1/tools", 200),
        # The address in the line is whoever's; what is served is ours.
        ("http://evil.example/v1/tools", "/v1/tools", 200),
        ("http://evil.example/v1/tools", "http://evil.example/v1/tools", 401),
        ("HTTP://user@evil.example:1/v1/tools", "/v1/tools", 200),
        # One escape of a letter is that letter, in both places.
        ("/v1/%74ools", "/v1/tools", 200),
        ("/v1/tools", "/v1/%74ools", 200),
        ("/v1%2Ftools", "/v1/tools", 401),
        ("/v1/%2e/tools", "/v1/tools", 404),
        ("/v1/./tools", "/v1/tools", 404),
        ("/v1/x/../tools", "/v1/tools", 404),
        ("//v1/tools", "/v1/tools", 404),
        ("/v1/tools/", "/v1/tools", 307),
        ("/V1/tools", "/v1/tools", 404),
        ("*", "/v1/tools", 404),
        ("/v1/tools%", "/v1/tools", 404),
        ("/v1/tools%00", "/v1/tools", 404),
    ],
)
async def test_a_request_line_of_any_form_is_the_address_that_is_served(
    desk, line, htu, status
):
    assert await called(desk, line, htu=htu) == status


@pytest.mark.parametrize(
    "headers",
    [
        "Content-Length: {less}",
        "Content-Length: {more}",
        "Content-Length: {less}\r\nContent-Length: {exact}",
        "Content-Length: {exact}\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked",
        "Transfer-Encoding: chunked, identity",
        "Content-Length: -1",
        "Content-Length: +{exact}",
        "Content-Length: 0x10",
        "Content-Length: 99999999999999999999",
    ],
)
async def test_a_length_that_lies_gets_no_token(desk, headers):
    form = form_of(desk)
    sizes = {"less": len(form) - 40, "more": len(form) + 40, "exact": len(form)}
    status, answer = await said(desk, asks(desk, headers.format(**sizes)) + form)
    assert "access_token" not in answer
    assert status in {0, 400}
    # Nothing is wrong with such a request but what it says of its length.
    assert await got(desk)
