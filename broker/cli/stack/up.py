"""Run one stack from start to stop, and tell what happens."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine
from typing import TypeAlias

from broker.cli.stack import environment as env
from broker.cli.stack import firstcalls, signin
from broker.cli.stack.events import Down, Event, Failed, Link, Note, Said, Up
from broker.cli.stack.parts import PartEvent
from broker.cli.stack.planning.plan import Plan
from broker.cli.stack.process import tail
from broker.cli.stack.running import Board
from broker.cli.stack.state import CHECKOUT, PACKAGES, State, is_done, note_done
from broker.cli.stack.supervisor import PartFailedError, Supervisor

FIRST_CALLS = "first calls"

Tell: TypeAlias = Callable[[Event], None]


async def run(
    state: State,
    plan: Plan,
    *,
    tell: Tell,
    first_calls: bool = False,
    started: Callable[[], None] = lambda: None,
) -> int:
    """Start the parts, keep them until a signal comes, stop them.

    SIGINT, SIGTERM or SIGHUP stops in reverse order; the second one kills.

    Args:
        state: The state, locked by this process.
        plan: What to start.
        tell: Is told of everything.
        first_calls: Let the demo agent make them, once per state, when all is ready.
        started: Called when the start is over, first calls included.

    Returns:
        0 if everything was ready before it was asked to stop, else 1.
    """
    begun = time.monotonic()
    board = Board(state.path, plan, pid=os.getpid())

    def report(event: PartEvent) -> None:
        board.note(event)
        tell(event)

    for note in plan.notes:
        tell(Note(note))
    supervisor = Supervisor(
        plan.parts,
        logs=state.path / "logs",
        cwd=CHECKOUT,
        report=report,
        kill_orphans=True,
    )
    stop = _stop_signals(supervisor)
    _compile()
    code = 0
    try:
        if await _unless(stop, supervisor.start()):
            board.ready()
            took_s = time.monotonic() - begun
            tell(Up(issuer=plan.brokers[0], took_s=took_s, rows=board.rows))
            await _unless(stop, _welcome(state, plan, tell, first_calls=first_calls))
            started()
            await stop.wait()
    except PartFailedError as error:
        code = 1
        said = f"{error.part} could not be started: {error.detail}"
        hint = f"its log is {error.log}"
        tell(Failed(error=said, hint=hint, log=tail(error.log)))
    finally:
        stopping = time.monotonic()
        await supervisor.stop()
        tell(Down(time.monotonic() - stopping))
    return code


async def _unless(stop: asyncio.Event, work: Coroutine[None, None, None]) -> bool:
    """Do something, and give it up when a signal comes; tell whether it was done."""
    working = asyncio.ensure_future(work)
    stopped = asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait({working, stopped}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            working.result()
        return working.done()
    finally:
        working.cancel()
        stopped.cancel()
        await asyncio.gather(working, stopped, return_exceptions=True)


def _stop_signals(supervisor: Supervisor) -> asyncio.Event:
    """Return what the first signal sets; the second one kills."""
    stop = asyncio.Event()

    def on_signal() -> None:
        if stop.is_set():
            supervisor.hurry()
        stop.set()

    loop = asyncio.get_running_loop()
    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(signum, on_signal)
    return stop


async def _welcome(state: State, plan: Plan, tell: Tell, *, first_calls: bool) -> None:
    """Give whoever started a demo something to look at, and the way in."""
    if first_calls and firstcalls.offered() and not is_done(state, FIRST_CALLS):
        await _call(state, plan, tell)
    if signin.offered(state.path):
        await _let_in(state, tell)


async def _call(state: State, plan: Plan, tell: Tell) -> None:
    """Make the first calls; that they fail is said, and changes nothing else."""
    try:
        await firstcalls.make(
            state.path,
            plan.brokers[0],
            environment=env.callers(),
            say=lambda text: tell(Said(text)),
        )
    except (OSError, firstcalls.FirstCallsError) as error:
        tell(Note(f"the first calls did not go through: {error}"))
    else:
        note_done(state, FIRST_CALLS)


async def _let_in(state: State, tell: Tell) -> None:
    """Say how to get into the console; that there is no link changes nothing else."""
    try:
        url = await signin.make(state.path, environment=env.callers())
    except (OSError, signin.NoLinkError) as error:
        tell(Note(f"there is no link into the console: {error}"))
    else:
        tell(Link(url=url, person=signin.DEMO_PERSON))


def _compile() -> None:
    """Compile our packages: confined parts cannot write what Python would cache.

    Where the checkout is not ours to write to, parts start a little later.
    """
    # In a process of its own: what the compiler takes is never given back.
    packages = (CHECKOUT / package for package in PACKAGES)
    subprocess.run(
        [sys.executable, "-P", "-S", "-m", "compileall", "-qq", *packages], check=False
    )
