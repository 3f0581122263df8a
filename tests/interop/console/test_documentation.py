"""What README and pages show is run: every command and snippet, on a real stack."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.interop.console.conftest import ROOT
from tests.interop.console.pages import (
    PLAYED,
    blocks,
    is_make,
    pages,
    script_of,
    shows_a_command,
)
from tests.interop.console.test_browser import ask

if TYPE_CHECKING:
    from pathlib import Path

    from tests.interop.console.conftest import Stack

HERE = "http://127.0.0.1:8400"
PAGE_S_MAX = 240
pytestmark = pytest.mark.timeout(300)


@pytest.mark.parametrize("page", PLAYED)
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
    if any(language == "json" for language, _ in blocks(page)):
        # Its MCP client was given what the page shows, and found the tool.
        assert "orders_refund" in output


def test_a_block_that_is_only_make_names_targets_that_are_there() -> None:
    for page in pages():
        for _, text in blocks(page):
            if shows_a_command("", text) and is_make(text):
                for line in text.splitlines():
                    done = subprocess.run(
                        [*line.split(), "-n"],
                        cwd=ROOT,
                        capture_output=True,
                        check=False,
                    )
                    assert done.returncode == 0, line
