"""What README and pages show is run: every command and snippet, on a real stack."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from mcp import StdioServerParameters
from mcp.client import Client
from mcp.client.stdio import stdio_client

from tests.interop.console.conftest import ROOT
from tests.interop.console.test_browser import ask

if TYPE_CHECKING:
    from tests.interop.console.conftest import Stack

PAGES = (
    "README.md",
    "docs/agent.md",
    "docs/approve.md",
    "docs/evidence.md",
    "docs/operate.md",
)
NOT_RUN = {"docs/policy-rollout.md", "docs/notifications.md"}
"""One publishes policies of a company's own: that its commands and options exist,
tests/cli/test_documented.py sees to. The other's block is what tests/support/notices
runs as a receiver."""
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
HERE = "http://127.0.0.1:8400"
PAGE_S_MAX = 240
pytestmark = pytest.mark.timeout(300)


def blocks(page: str) -> list[tuple[str, str]]:
    """Return the fenced blocks of a page, each with its language."""
    return BLOCK.findall((ROOT / page).read_text(encoding="utf-8"))


def script_of(page: str) -> str:
    """Return a page as one shell script: what a reader would paste, in order."""
    parts = ["set -eu"]
    for language, text in blocks(page):
        if language == "sh" and not is_make(text):
            parts.append(text)
        elif language == "python":
            parts.append(f".venv/bin/python - <<'PYTHON'\n{text}PYTHON\n")
    return "\n".join(parts)


def is_make(text: str) -> bool:
    """Return whether a block holds nothing but targets, which other tests run."""
    return all(line.startswith("make ") for line in text.splitlines())


@pytest.mark.parametrize("page", PAGES)
async def test_what_a_page_shows_runs(page: str, stack: Stack, tmp_path: Path) -> None:
    for path in ROOT.iterdir():
        if path.name not in {".git", ".counterfoil"}:
            (tmp_path / path.name).symlink_to(path)
    script = script_of(page).replace(HERE, stack.issuer)
    async with stack.world() as world:
        # There is always something to approve, and somebody who approves the rest.
        await ask(world)
        running = await asyncio.create_subprocess_exec(
            *("bash", "-c", script),
            cwd=tmp_path,
            env=os.environ | {"COUNTERFOIL_STATE": str(stack.state)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        said = asyncio.create_task(running.communicate())
        async with asyncio.timeout(PAGE_S_MAX):
            while not said.done():
                for one in await world.bob.approvals() if page == "README.md" else ():
                    with contextlib.suppress(Exception):
                        await world.bob.vote(one["approval"], "approve")
                await asyncio.sleep(1)
    output = (await said)[0].decode()
    assert running.returncode == 0, output
    if page == "README.md":
        assert "pending_approval\ndone {" in output


def test_every_block_is_of_a_kind_that_is_checked() -> None:
    for page in PAGES:
        kinds = {language for language, _ in blocks(page)}
        assert kinds <= {"sh", "python", "json", "text", "console", ""}, page
        for language, text in blocks(page):
            if language == "sh" and is_make(text):
                for line in text.splitlines():
                    done = subprocess.run(
                        [*line.split(), "-n"],
                        cwd=ROOT,
                        capture_output=True,
                        check=False,
                    )
                    assert done.returncode == 0, line


def test_every_page_with_something_to_paste_is_run_or_says_who_sees_to_it() -> None:
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    pasted = {
        str(page.relative_to(ROOT))
        for page in pages
        if {"sh", "python"} & {kind for kind, _ in BLOCK.findall(page.read_text())}
    }
    assert pasted == {*PAGES} | NOT_RUN


@pytest.mark.parametrize("page", ["README.md"])
async def test_an_mcp_client_takes_the_configuration_as_it_is(
    page: str, stack: Stack
) -> None:
    [text] = [text for language, text in blocks(page) if language == "json"]
    server = json.loads(text)["mcpServers"]["counterfoil"]
    parameters = StdioServerParameters(
        command=str(ROOT / server["command"]),
        args=server["args"],
        env=dict(os.environ) | {"COUNTERFOIL_STATE": str(stack.state)},
    )
    async with Client(stdio_client(parameters)) as client:
        tools = await client.list_tools()
    assert "orders_refund" in {tool.name for tool in tools.tools}
