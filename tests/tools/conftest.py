"""A runner with real zygotes, in this process, against a small fake edge."""

from __future__ import annotations

import asyncio
import textwrap
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.support.fake_edge import FakeEdge, RunnerClient, warrant, write_catalog
from tools.dispatcher import Dispatcher
from tools.manifests import load_catalog
from tools.settings import Settings


class Rig:
    """What a test has in hand: the runner, its edge, and a broker's connection."""

    def __init__(self, folder: Path, edge: FakeEdge) -> None:
        self.folder = folder
        self.edge = edge
        self.settings = Settings(
            runner_socket=folder / "runner.sock",
            edge_socket=edge.path,
            catalog=folder / "catalog",
        )
        self.dispatcher: Dispatcher
        self.client: RunnerClient
        self._numbers = 0

    async def start(self, code: str, **tools: dict[str, Any]) -> None:
        """Start a runner for a connector of this code, with these tools."""
        self.write(code, **tools)
        await self.restart()

    def write(self, code: str, **tools: dict[str, Any]) -> None:
        """Write a connector of this code, with these tools."""
        write_catalog(self.settings.catalog, self.plain(code), tools=tools)

    def use_libraries(self, root: Path) -> None:
        """Look for the libraries of connectors below a folder."""
        self.settings = replace(self.settings, libraries=root)

    @staticmethod
    def plain(code: str) -> str:
        """Return code without the indentation that it has in a test."""
        return textwrap.dedent(code)

    async def restart(self, *, layers: frozenset[str] | None = None) -> None:
        """Start a runner for the catalog that is there."""
        self.dispatcher = Dispatcher(self.settings, layers=layers)
        await self.dispatcher.start()
        self._tools = load_catalog(self.settings.catalog)
        self.client = await RunnerClient.connect(self.settings.runner_socket)

    def warrant(self, tool: str, /, **claims: Any) -> str:
        """Return a fresh warrant for a tool of the catalog."""
        self._numbers += 1
        found = self._tools[tool]
        plain = {"tool": tool, "connector": found.connector, "manifest": found.digest}
        return warrant(**{"jti": f"warrant-{self._numbers}", **plain, **claims})

    async def call(
        self, tool: str, *, deadline_ms: int = 10_000, **arguments: Any
    ) -> dict[str, Any]:
        """Run a tool with arguments; return the runner's answer."""
        jws = self.warrant(tool, arguments=arguments)
        return await self.client.run(jws, deadline_ms=deadline_ms)

    async def close(self) -> None:
        if hasattr(self, "client"):
            self.client.close()
        if hasattr(self, "dispatcher"):
            await self.dispatcher.close()


async def until(check: Callable[[], object]) -> None:
    """Wait until something is so, but not for long."""
    async with asyncio.timeout(5):
        while not check():  # noqa: ASYNC110 what is waited for is outside the loop
            await asyncio.sleep(0.01)


@pytest.fixture
async def edge(tmp_path: Path) -> AsyncIterator[FakeEdge]:
    async with FakeEdge(tmp_path / "edge.sock") as running:
        yield running


@pytest.fixture
async def rig(tmp_path: Path, edge: FakeEdge) -> AsyncIterator[Rig]:
    made = Rig(tmp_path, edge)
    try:
        yield made
    finally:
        await made.close()
