"""One real stack for the console's tests, started as a person starts it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from broker.cli.demo.world import World, open_world
from broker.cli.stack.running import running

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

ROOT = Path(__file__).resolve().parents[3]
UP_S_MAX, DOWN_S_MAX = 240, 60


@dataclass
class Stack:
    """A stack that `counterfoil up` started, and what it said."""

    state: Path
    issuer: str
    crm_url: str
    link: str
    up_s: float
    said: list[str] = field(default_factory=list)

    def run(self, *words: str) -> str:
        """Run a command of ours on this stack; return what it printed."""
        done = counterfoil(*words, "--state", str(self.state))
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def sign_in_link(self, who: str = "alice") -> str:
        """Return a fresh link into the console."""
        return str(json.loads(self.run("console", "--as", who, "--json"))["url"])

    @asynccontextmanager
    async def world(self) -> AsyncIterator[World]:
        """Reach everybody on the stack."""
        async with open_world(
            self.state, base_url=self.issuer, crm_url=self.crm_url
        ) as world:
            yield world


def counterfoil(*words: str) -> subprocess.CompletedProcess[str]:
    """Run the command line of this checkout."""
    return subprocess.run(
        [sys.executable, "-P", "-m", "broker.cli", *words],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=UP_S_MAX,
        check=False,
    )


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    """Lend one stack to all tests of the console."""
    with open_stack() as opened:
        yield opened


@contextmanager
def open_stack() -> Iterator[Stack]:
    """Start a fresh demo stack, first calls included, and take it away again."""
    folder = Path(tempfile.mkdtemp(prefix="counterfoil-"))
    state = folder / "s"
    begun = time.monotonic()
    try:
        up = counterfoil("up", "-d", "--json", "--state", str(state))
        took_s = time.monotonic() - begun
        assert up.returncode == 0, up.stdout[-2_000:] + up.stderr[-2_000:]
        events = [json.loads(line) for line in up.stdout.splitlines()]
        found = running(state)
        assert found is not None
        [link] = [e["url"] for e in events if e["event"] == "link"]
        said = [e["text"] for e in events if e["event"] == "said"]
        yield Stack(state, found.issuer, found.crm_url, link, took_s, said)
    finally:
        counterfoil("down", "--state", str(state))
        shutil.rmtree(folder, ignore_errors=True)
