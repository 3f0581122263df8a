"""The API's page shows every operation, and loads nothing from anybody else."""

from __future__ import annotations

import re
from contextlib import asynccontextmanager
from html import unescape
from typing import TYPE_CHECKING, Any

import httpx
import pytest_asyncio

from broker.api.app import create_app
from broker.api.reference import PATH

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from fastapi import FastAPI


@asynccontextmanager
async def nothing(_: FastAPI) -> AsyncIterator[None]:
    yield


@pytest_asyncio.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(create_app(nothing))
    async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
        yield client


async def test_every_operation_of_the_document_stands_on_the_page(http) -> None:
    document: dict[str, Any] = (await http.get("/openapi.json")).json()
    page = unescape((await http.get(PATH)).text)
    shown = [
        (method.upper(), path, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]
    assert len(shown) > 20
    for method, path, operation in shown:
        assert f'id="{method}{path}"' in page
        assert operation["summary"] in page
    assert "idempotency-key" in page


async def test_the_page_loads_nothing_from_another_origin(http) -> None:
    answer = await http.get(PATH)
    loaded = re.findall(r'(?:src|href)="([^"]*)"', answer.text)
    assert loaded
    assert all(one.startswith(("/", "#")) for one in loaded)
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "http" not in policy
