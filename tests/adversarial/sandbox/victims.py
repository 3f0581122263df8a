"""Keep a call at work beside an attacker's: of the same connector, and of another."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.support.fake_edge import RunnerClient

if TYPE_CHECKING:
    from tests.adversarial.sandbox.harness import Run

HELD_MS = 9_000
BEGINS_S_MAX = 5.0
ENDS_S_MAX = 5.0


def alive(pid: int) -> bool:
    """Say whether a process runs."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text("utf-8")
    except FileNotFoundError:
        return False
    return text.rpartition(") ")[2][0] not in "ZX"


class Victim:
    """One call that holds a secret and waits; it is begun again whenever it ended."""

    def __init__(self, who: str, connector: str, run: Run) -> None:
        """Begin nothing yet."""
        self.who = who
        self._connector = connector
        self._run = run
        self._client: RunnerClient | None = None
        self._call: asyncio.Task[dict[str, Any]] | None = None
        self._pid = 0
        self._told: dict[str, Any] = {}

    async def held(self) -> dict[str, Any]:
        """Return what the attacker is told: its numbers, and where its secret is."""
        if self._call is None or self._call.done() or not alive(self._pid):
            await self._begin()
        return self._told

    async def killed(self) -> bool:
        """Say whether somebody else than the deadline ended it."""
        call = self._call
        if call is None or alive(self._pid):
            return False
        # What its runner says of it is a moment behind.
        await asyncio.wait([call], timeout=ENDS_S_MAX)
        return _code(call) != "timeout"

    async def end(self) -> None:
        """Let go of the connection, and so of the call."""
        if self._call is not None:
            self._call.cancel()
            await asyncio.gather(self._call, return_exceptions=True)
        if self._client is not None:
            self._client.close()

    async def _begin(self) -> None:
        await self.end()
        run, name = self._run, f"{self._run.world.abstract}-{self.who}"
        seen = len(run.edge.seen)
        self._client = await RunnerClient.connect(run.folder / "runner.sock")
        jws = run.warrant(
            f"{self._connector}.hold", secret=run.world.secret, listen=name
        )
        self._call = asyncio.create_task(self._client.run(jws, deadline_ms=HELD_MS))
        async with asyncio.timeout(BEGINS_S_MAX):
            while len(run.edge.seen) == seen:  # noqa: ASYNC110 the edge is a list
                await asyncio.sleep(0.005)
        _, _, inside, at = run.edge.seen[-1].target.split("/")
        zygote = run.dispatcher.zygotes()[self._connector]
        self._pid = _outside(zygote, int(inside))
        # What it is called within its namespace is right for its siblings alone.
        pids = {self._pid, *([int(inside)] if self.who == "sibling" else [])}
        self._told = {"who": self.who, "pids": [*pids], "at": int(at), "name": name}


def _outside(zygote: int, inside: int) -> int:
    """Return the number, as seen from here, of a zygote's child."""
    text = Path(f"/proc/{zygote}/task/{zygote}/children").read_text("ascii")
    for pid in map(int, text.split()):
        status = Path(f"/proc/{pid}/status").read_text("utf-8", "replace")
        names = status.partition("NSpid:")[2].splitlines()[0].split()
        if int(names[-1]) == inside:
            return pid
    msg = f"the zygote has no child {inside}"
    raise AssertionError(msg)


def _code(call: asyncio.Task[dict[str, Any]]) -> str:
    if not call.done() or call.cancelled() or call.exception():
        return ""
    return str((call.result()["error"] or {}).get("code", ""))
