"""What wiring gives the console: streams that end, and no key in production."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import TYPE_CHECKING

import httpx
import uvicorn
from fastapi import FastAPI
from starlette.responses import StreamingResponse

from broker.core.jwk import Algorithm
from broker.wiring.rooms import console_keys
from broker.wiring.serving import Server
from tests.support.identities import key_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

PATIENCE_S = 20


async def test_an_open_stream_keeps_no_replica_from_stopping() -> None:
    app, closing = FastAPI(), asyncio.Event()
    app.state.console = SimpleNamespace(closing=closing)

    async def words() -> AsyncIterator[str]:
        yield "here\n"
        await closing.wait()

    @app.get("/")
    async def stream() -> StreamingResponse:
        return StreamingResponse(words())

    config = uvicorn.Config(app, port=0, log_config=None, lifespan="off")
    server = Server(config, app)
    serving = asyncio.create_task(server.serve())
    async with asyncio.timeout(PATIENCE_S):
        while not server.started:  # noqa: ASYNC110  (it tells nobody)
            await asyncio.sleep(0.01)
        [port] = [s.getsockname()[1] for one in server.servers for s in one.sockets]
        async with (
            httpx.AsyncClient(trust_env=False) as http,
            http.stream("GET", f"http://127.0.0.1:{port}/") as answer,
        ):
            lines = answer.aiter_lines()
            assert await anext(lines) == "here"
            server.should_exit = True
            assert [line async for line in lines] == []
        await serving


def test_in_production_the_console_has_no_key_to_sign_with() -> None:
    key = key_of("console", Algorithm.EDDSA)
    keys = SimpleNamespace(console=key)
    for stamp, expected in (("demo", [key]), ("production", []), ("", [])):
        settings = SimpleNamespace(stamp=stamp)
        assert console_keys(settings, keys) == expected  # type: ignore[arg-type]
