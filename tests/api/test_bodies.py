"""Bodies: what is not exactly what an endpoint takes is refused, by a stable code."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import pytest_asyncio
from fastapi import FastAPI, Request
from pydantic import Field

from broker.api import problems
from broker.api.bodies import (
    BODY_BYTES_MAX,
    BODY_DEPTH_MAX,
    BODY_S_MAX,
    Body,
    read,
    read_bytes,
)
from broker.core.words.errors import MalformedError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

SECRET = "4111-1111-1111-1111"


class Example(Body):
    """A body with one field of each sort."""

    name: str
    units: int = 0
    more: dict[str, Any] = Field(default={})


@pytest_asyncio.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    app = FastAPI()
    problems.install(app)
    app.state.issuer = "http://test"

    @app.post("/")
    async def endpoint(request: Request) -> dict[str, Any]:
        return (await read(request, Example)).model_dump()

    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        yield client


async def post(
    http: httpx.AsyncClient, body: bytes, media_type: str = "application/json"
) -> httpx.Response:
    return await http.post("/", content=body, headers={"content-type": media_type})


def deep(levels: int) -> bytes:
    """Return a body of this depth: the object itself, ``more``, and lists in it."""
    lists = levels - 2
    return b'{"name":"x","more":{"a":' + b"[" * lists + b"]" * lists + b"}}"


def long(size: int) -> bytes:
    """Return a good body of this many bytes."""
    empty = len(json.dumps({"name": ""}))
    return json.dumps({"name": "x" * (size - empty)}).encode()


async def test_a_body_that_is_what_the_endpoint_takes_is_read(http) -> None:
    answer = await post(http, b'{"name":"x","units":3}', "Application/JSON; charset=x")
    assert answer.json() == {"name": "x", "units": 3, "more": {}}


@pytest.mark.parametrize("media_type", ["", "text/plain", "application/jsonp", "x;y"])
async def test_another_media_type_is_refused_before_the_body_is_read(
    http, media_type
) -> None:
    answer = await post(http, b'{"name":"x"}', media_type)
    assert (answer.status_code, answer.json()["code"]) == (400, "malformed")
    assert "Content-Type" in answer.json()["hint"]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"not json",
        b'{"name":"x"} {}',
        b'{"name":"x","name":"y"}',
        b'{"name":"x","more":{"a":1,"a":2}}',
        b'{"name":"\xff"}',
        b'{"name":"\\ud800"}',
        b'{"name":"x","units":NaN}',
        b'["name"]',
        b'"name"',
        b"null",
    ],
)
async def test_what_is_no_single_strict_json_object_is_malformed(http, body) -> None:
    answer = await post(http, body)
    assert (answer.status_code, answer.json()["code"]) == (400, "malformed")


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({}, "/name"),
        ({"name": 1}, "/name"),
        ({"name": None}, "/name"),
        ({"name": "x", "units": SECRET}, "/units"),
        ({"name": "x", "units": "3"}, "/units"),
        ({"name": "x", "units": 3.5}, "/units"),
        ({"name": "x", "units": True}, "/units"),
        ({"name": "x", "more": [SECRET]}, "/more"),
        ({"name": "x", "card": SECRET}, "/card"),
    ],
)
async def test_a_wrong_field_is_named_by_its_pointer_and_no_value_is_repeated(
    http, body, pointer
) -> None:
    answer = await post(http, json.dumps(body).encode())
    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (422, "invalid")
    assert problem["pointer"] == pointer
    assert SECRET not in answer.text


async def test_a_body_is_as_long_as_the_limit_and_not_one_byte_longer(http) -> None:
    assert len(long(BODY_BYTES_MAX)) == BODY_BYTES_MAX
    assert (await post(http, long(BODY_BYTES_MAX))).status_code == 200
    answer = await post(http, long(BODY_BYTES_MAX + 1))
    assert (answer.status_code, answer.json()["code"]) == (413, "too-large")


async def test_a_body_without_an_end_is_not_read_to_its_end(http) -> None:
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while True:
            sent += 1
            yield b" " * 1_024

    answer = await http.post(
        "/", content=endless(), headers={"content-type": "application/json"}
    )
    assert answer.status_code == 413
    assert sent <= BODY_BYTES_MAX // 1_024 + 2


async def test_a_body_is_as_deep_as_the_limit_and_not_one_level_deeper(http) -> None:
    assert (await post(http, deep(BODY_DEPTH_MAX))).status_code == 200
    answer = await post(http, deep(BODY_DEPTH_MAX + 1))
    assert (answer.status_code, answer.json()["code"]) == (413, "too-large")


async def test_a_body_that_does_not_come_is_waited_for_a_bounded_time():
    """Else a thousand connections that send nothing are all that there are."""
    scope = {"type": "http", "method": "POST", "path": "/", "headers": []}
    pieces = [{"type": "http.request", "body": b"{", "more_body": True}]

    async def drips():
        return pieces.pop() if pieces else await asyncio.Event().wait()

    with pytest.raises(MalformedError, match="did not arrive"):
        await read_bytes(Request(scope, drips), within_s=0.01)
    assert BODY_S_MAX <= 10


async def test_a_body_whose_sender_is_gone_is_malformed_and_no_crash():
    scope = {"type": "http", "method": "POST", "path": "/", "headers": []}

    async def gone():
        return {"type": "http.disconnect"}

    with pytest.raises(MalformedError):
        await read_bytes(Request(scope, gone))
