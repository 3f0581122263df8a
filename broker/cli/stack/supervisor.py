"""Start the parts of a stack, keep them running, stop them in reverse order."""

import asyncio
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from broker.cli.stack import probes, process
from broker.cli.stack.launch import guardian, kernel
from broker.cli.stack.parts import (
    FileExists,
    Part,
    PartEvent,
    PartState,
    SocketAnswers,
    in_order,
)

POLL_S_MIN = 0.02
POLL_S_MAX = 0.25
WATCH_S = 2.0
SWEEP_S = 1.0
GENERATIONS = 16
BACKOFF_S_MIN = 0.1
BACKOFF_S_MAX = 5.0
HEALTHY_S_MIN = 20.0
"""A part that ran this long before it died is started again without delay."""
ATTEMPTS_MAX = 6
"""How often a part may die before it was ever ready; then the start has failed."""


class PartFailedError(Exception):
    """A part could not be started, so the stack was not."""

    def __init__(self, part: str, detail: str, *, log: Path) -> None:
        """Keep what happened, and where the part's own words stand."""
        super().__init__(f"{part}: {detail}")
        self.part = part
        self.detail = detail
        self.log = log


@dataclass(slots=True)
class _Kept:
    """What is known about a part while the stack runs."""

    part: Part
    ready: asyncio.Event = field(default_factory=asyncio.Event)
    child: process.Child | None = None
    task: "asyncio.Task[None] | None" = None
    restarts: int = 0
    was_ready: bool = False


class Supervisor:
    """Keeps a set of parts running.

    One task per part waits for what the part needs, starts it, probes until it is
    ready, and starts it again whenever it ends. Use it on the main thread.
    """

    def __init__(
        self,
        parts: Iterable[Part],
        *,
        logs: Path,
        cwd: Path,
        report: Callable[[PartEvent], None],
        kill_orphans: bool = False,
    ) -> None:
        """Take the parts in any order.

        Args:
            parts: What to run.
            logs: Folder of their logs.
            cwd: Where they are started.
            report: Is told of every change.
            kill_orphans: Kill whoever loses their parent below this process. Only for
                a process that does nothing but supervise.
        """
        self._kill_orphans = kill_orphans
        self._kept = {part.name: _Kept(part) for part in in_order(parts)}
        self._logs = logs
        self._cwd = cwd
        self._report = report
        self._sweeping: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Return once every part is ready, or done.

        Raises:
            PartFailedError: One could not be started. The others still run: stop().
        """
        if self._kill_orphans:
            kernel.prctl(kernel.PR_SET_CHILD_SUBREAPER, 1)
            self._sweeping = asyncio.create_task(self._sweep())
        for kept in self._kept.values():
            self._tell(kept, PartState.WAITING)
            kept.task = asyncio.create_task(self._keep(kept))
        tasks = {kept.task for kept in self._kept.values() if kept.task is not None}
        ready = asyncio.create_task(self._all_ready())
        try:
            while not ready.done():
                await asyncio.wait({ready, *tasks}, return_when=asyncio.FIRST_COMPLETED)
                for task in [task for task in tasks if task.done()]:
                    tasks.discard(task)
                    task.result()
        finally:
            ready.cancel()

    async def _all_ready(self) -> None:
        for kept in self._kept.values():
            await kept.ready.wait()

    async def stop(self) -> None:
        """Stop every part, each after all that need it; return when none runs."""
        stopped = {name: asyncio.Event() for name in self._kept}
        needed_by: dict[str, list[str]] = {name: [] for name in self._kept}
        for kept in self._kept.values():
            for name in kept.part.outlived_by():
                needed_by[name].append(kept.part.name)

        async def end(kept: _Kept) -> None:
            for name in needed_by[kept.part.name]:
                await stopped[name].wait()
            try:
                await self._end(kept)
            finally:
                stopped[kept.part.name].set()

        await asyncio.gather(*(end(kept) for kept in self._kept.values()))
        if self._sweeping is not None:
            self._sweeping.cancel()
            # What a killed part leaves arrives one generation at a time.
            for _ in range(GENERATIONS):
                guardian.kill_orphans(spared=())

    async def _sweep(self) -> None:
        """Kill what dead parts leave behind: whoever lost their parent comes to us."""
        while True:
            await asyncio.sleep(SWEEP_S)
            own = [kept.child.pid for kept in self._kept.values() if kept.child]
            guardian.kill_orphans(spared=own)

    def hurry(self) -> None:
        """Kill whatever still runs, while ``stop`` waits for it."""
        for kept in self._kept.values():
            if kept.child is not None:
                process.kill_group(kept.child)

    async def _end(self, kept: _Kept) -> None:
        if kept.task is not None:
            kept.task.cancel()
            await asyncio.gather(kept.task, return_exceptions=True)
        child = kept.child
        if child is None:
            if not kept.part.one_shot:
                self._tell(kept, PartState.STOPPED)
            return
        begun = time.monotonic()
        self._tell(kept, PartState.STOPPING, child=child)
        code = await process.stop(
            child, signum=kept.part.stop_signal, stop_s_max=kept.part.stop_s_max
        )
        kept.child = None
        detail = "" if code in {0, -kept.part.stop_signal} else _ending(code)
        self._tell(kept, PartState.STOPPED, begun=begun, detail=detail)

    async def _keep(self, kept: _Kept) -> None:
        for name in kept.part.after:
            await self._kept[name].ready.wait()
        attempts = 0
        while True:
            begun = time.monotonic()
            try:
                detail = await self._run_once(kept)
            except OSError as error:
                # The log could not be opened, or no process be made: try again.
                detail = str(error)
            if kept.part.one_shot and not detail:
                return
            if kept.part.one_shot:
                self._fail(kept, detail)
            healthy = kept.was_ready and time.monotonic() - begun > HEALTHY_S_MIN
            attempts = 1 if healthy else attempts + 1
            if not kept.was_ready and attempts >= ATTEMPTS_MAX:
                self._fail(kept, detail)
            kept.restarts += 1
            self._tell(kept, PartState.RESTARTING, detail=detail)
            await asyncio.sleep(backoff_s(attempts))

    def _fail(self, kept: _Kept, detail: str) -> None:
        self._tell(kept, PartState.FAILED, detail=detail)
        name = kept.part.name
        raise PartFailedError(name, detail, log=self.log_of(name))

    def log_of(self, name: str) -> Path:
        """Return the file that takes a part's output."""
        return self._logs / f"{name}.log"

    async def _run_once(self, kept: _Kept) -> str:
        """Start a part and stay with it until it ends; return how it ended.

        A part that does not become ready in time is killed, which is an end too.
        An empty answer is the good end of a one-shot part.
        """
        part = kept.part
        _clear(part)
        begun = time.monotonic()
        child = process.spawn(part, log=self.log_of(part.name), cwd=self._cwd)
        kept.child = child
        self._tell(kept, PartState.STARTING, child=child)
        if not await self._became_ready(part, child, begun=begun):
            if child.ended.done():
                detail = _ending(child.ended.result())
            else:
                detail = f"not ready within {part.ready_s_max:g} s"
            if part.one_shot and child.ended.done() and child.ended.result() == 0:
                detail = ""
        else:
            kept.was_ready = True
            kept.ready.set()
            self._tell(kept, PartState.READY, child=child, begun=begun)
            detail = _ending(await self._watch(kept, child))
        process.kill_group(child)
        await asyncio.shield(child.ended)
        kept.child = None
        if part.one_shot and not detail:
            kept.was_ready = True
            kept.ready.set()
            self._tell(kept, PartState.DONE, begun=begun)
        return detail

    async def _watch(self, kept: _Kept, child: process.Child) -> int:
        """Stay with a part that is ready until it ends; return its exit code.

        One that stops answering is left alone, for it may be at work; it is told.
        """
        answered = True
        while not child.ended.done():
            await asyncio.wait({child.ended}, timeout=WATCH_S)
            if child.ended.done():
                break
            answers = await probes.answers(kept.part.probe)
            answers = answers and not process.is_stopped(child)
            if answers != answered and not child.ended.done():
                state = PartState.READY if answers else PartState.NOT_ANSWERING
                self._tell(kept, state, child=child)
                answered = answers
        return child.ended.result()

    async def _became_ready(
        self, part: Part, child: process.Child, *, begun: float
    ) -> bool:
        """Probe until the part is ready, has ended, or is out of time."""
        pause_s = POLL_S_MIN
        while time.monotonic() - begun < part.ready_s_max:
            if not part.one_shot and await probes.answers(part.probe):
                # A stale socket of somebody else must not speak for a dead part.
                return not child.ended.done()
            done, _ = await asyncio.wait({child.ended}, timeout=pause_s)
            if done:
                return False
            pause_s = min(pause_s * 1.3, POLL_S_MAX)
        return False

    def _tell(
        self,
        kept: _Kept,
        state: PartState,
        *,
        child: process.Child | None = None,
        begun: float | None = None,
        detail: str = "",
    ) -> None:
        self._report(
            PartEvent(
                part=kept.part.name,
                state=state,
                pid=child.pid if child else 0,
                took_s=time.monotonic() - begun if begun is not None else 0.0,
                restarts=kept.restarts,
                detail=detail,
            )
        )


def backoff_s(attempts: int) -> float:
    """Return how long to wait before a part is started again.

    Args:
        attempts: How often it has died in a row, at least once.
    """
    return min(BACKOFF_S_MIN * 2.0 ** min(attempts - 1, 16), BACKOFF_S_MAX)


def _clear(part: Part) -> None:
    """Remove what an earlier run of the part left to be probed."""
    match part.probe:
        case FileExists(path) | SocketAnswers(path):
            path.unlink(missing_ok=True)
        case _:
            return


def _ending(code: int) -> str:
    return f"ended by signal {-code}" if code < 0 else f"ended with exit code {code}"
