"""Open a state, plan its stack and run it, in the foreground or in the background."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from broker.cli.guard import foreign_owners, ownership_problem
from broker.cli.stack import detach, up
from broker.cli.stack import environment as env
from broker.cli.stack.events import Event, Failed
from broker.cli.stack.launch import guardian
from broker.cli.stack.machine.host import Host, platform_refusal, refusal, this_host
from broker.cli.stack.machine.ports import NoFreePortError, Reservations
from broker.cli.stack.planning.given import given_by
from broker.cli.stack.planning.plan import Wish, plan
from broker.cli.stack.planning.production import require_demo, require_fit
from broker.cli.stack.state import (
    AlreadyRunningError,
    Stamp,
    StateError,
    locked,
    needed,
    open_state,
    running_pid,
)
from broker.cli.stack.table import Display, LineDisplay


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What `counterfoil up` was asked for.

    Attributes:
        state: The state folder.
        stamp: What a new state is for.
        brokers: Replicas of the broker.
        workers: Replicas of the worker.
        first_calls: Let the demo agent make them on a fresh state.
        history: Load a simulated one, once per state.
    """

    state: Path
    stamp: Stamp
    brokers: int
    workers: int
    first_calls: bool
    history: bool = False


def foreground(order: Order, display: Display) -> int:
    """Run the stack until a signal comes; return an exit code."""
    host = _prepare(order, display)
    if host is None:
        return 1
    guardian.fork_supervisor()
    return _run(order, host, tell=display.tell)


def background(order: Order, display: Display) -> int:
    """Start the stack, leave it running, and return an exit code."""
    host = _prepare(order, display)
    if host is None:
        return 1

    def supervise(pipe: int) -> int:
        guardian.fork_supervisor(closing=(pipe,))
        reporter = detach.Reporter(pipe, LineDisplay())
        return _run(order, host, tell=reporter.tell, started=reporter.started)

    log = order.state / "logs" / "supervisor.log"
    return 0 if detach.run(supervise, log=log, display=display) else 1


def _prepare(order: Order, display: Display) -> Host | None:
    """Check what can be checked before anything is started; None if it cannot be.

    Forks, and so comes before anything else.
    """
    problem = platform_refusal() or ownership_problem(foreign_owners())
    if problem:
        display.tell(Failed(error=problem))
        return None
    host = this_host(*needed(order.state))
    try:
        given = given_by(env.callers())
        problem = refusal(host, own_database=not given.database_url)
        if problem:
            display.tell(Failed(error=problem))
            return None
        state = open_state(order.state, stamp=order.stamp)
        require_fit(state, given, wanted=order.stamp)
        if order.history:
            require_demo(state)
        pid = running_pid(order.state)
        if pid is not None:
            raise AlreadyRunningError(pid)
    except (StateError, OSError) as error:
        display.tell(_failed(error))
        return None
    return host


def _run(
    order: Order,
    host: Host,
    *,
    tell: Callable[[Event], None],
    started: Callable[[], None] = lambda: None,
) -> int:
    """Hold the state and run its stack; return an exit code."""
    try:
        state = open_state(order.state, stamp=order.stamp)
        with locked(state.path), Reservations() as reserved:
            wish = Wish(
                brokers=order.brokers,
                workers=order.workers,
                given=given_by(env.callers()),
                caller=dict(env.callers()),
                history=order.history,
            )
            return asyncio.run(
                up.run(
                    state,
                    plan(state, host=host, wish=wish, reserved=reserved),
                    tell=tell,
                    first_calls=order.first_calls,
                    started=started,
                )
            )
    except (StateError, NoFreePortError, OSError) as error:
        tell(_failed(error))
        return 1


def _failed(error: Exception) -> Failed:
    return Failed(error=str(error), hint=getattr(error, "hint", ""))
