"""What runs in a call's child: confine itself, import, take one call, report, end.

The descriptors are fixed: 0 is empty, 1 and 2 are the capped output, CHANNEL carries
the call in and the result out. With the call comes EGRESS, the connection to the edge.
No other is ever open.

A child is forked ahead of its call and serves that one alone: confining, importing the
connector and touching memory for the first time happen before somebody waits for it.
"""

import contextlib
import fcntl
import os
import socket
from collections.abc import Callable, Mapping
from typing import Any, Final, NoReturn

from tools import frames, http1, limits
from tools.jail import bpf, landlock, process
from tools.sdk import Call, ConnectorError, Http

CHANNEL: Final = 3
EGRESS: Final = 4

EXIT_DONE: Final = 0
EXIT_NOT_CONFINED: Final = 70
EXIT_NOT_REPORTED: Final = 71

Entry = Callable[[Call], object]
Find = Callable[[str], Entry]
"""Returns a tool's function by name."""

Import = Callable[[], Find]
"""Runs confined: imports what a child may run."""


class Jail:
    """What confines a child, made before the zygote itself is confined.

    A layer that is None is left out, which only a control run of the tests does.
    """

    __slots__ = ("limited", "null", "program", "ruleset")

    def __init__(
        self, *, null: int, ruleset: int | None, program: bytes | None, limited: bool
    ) -> None:
        """Keep a descriptor of /dev/null, Landlock's rule and the seccomp program."""
        self.null = null
        self.ruleset = ruleset
        self.program = program
        self.limited = limited


class Order:
    """What a child is forked for: its descriptors, and what it imports."""

    __slots__ = ("channel", "load", "output", "parent")

    def __init__(self, channel: int, output: int, *, load: Import, parent: int) -> None:
        """Keep them; ``parent`` is the zygote's process id."""
        self.channel = channel
        self.output = output
        self.load = load
        self.parent = parent


def become_child(jail: Jail, order: Order) -> NoReturn:
    """Turn the process that was just forked into a call's child; end with it."""
    status = EXIT_NOT_CONFINED
    try:
        confine(jail, order)
        status = EXIT_NOT_REPORTED
        report(answer(order.load))
        status = EXIT_DONE
    finally:
        # Neither handlers nor buffers of the zygote run in the child, even if the
        # connector raised something that is no Exception.
        os._exit(status)


def confine(jail: Jail, order: Order) -> None:
    """Give up everything but four descriptors, reading code, and computing.

    Raises:
        OSError: A layer was refused; the connector must not run.
    """
    process.die_with_parent(order.parent)
    if jail.ruleset is not None:
        landlock.restrict(jail.ruleset)
    wanted = (jail.null, order.output, order.output, order.channel)
    # Copies first, above all targets: one may stand where another has to go.
    copies = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, len(wanted)) for fd in wanted]
    for target, copy in enumerate(copies):
        os.dup2(copy, target, inheritable=True)
    os.closerange(len(wanted), process.ZYGOTE_DESCRIPTORS_MAX)
    if jail.limited:
        process.limit_child()
    if jail.program is not None:
        bpf.install(jail.program)


def answer(load: Import) -> Mapping[str, object]:
    """Import, wait for the call, run it, and return the frame that says how it went."""
    problem: Exception | None = None
    find: Find | None = None
    try:
        find = load()
    except Exception as error:  # noqa: BLE001 connector code may raise anything
        # Nobody has called yet, so nobody could be told.
        problem = error
    warm_up()
    name, call = take_call()
    try:
        if find is None:
            return _failed(problem)
        result = find(name)(call)
    except ConnectorError as error:
        return _error(error.code, error.message)
    except Exception as error:  # noqa: BLE001 connector code may raise anything
        return _failed(error)
    if not isinstance(result, dict):
        return _error("exception", "a tool returns an object")
    return {"result": result}


def warm_up() -> None:
    """Touch, before a call comes, the memory that every call touches.

    A page that a child inherited is copied when it is first touched, if only to count a
    reference: a quarter of a millisecond for reading and writing JSON once.
    """
    with contextlib.suppress(Exception):
        sample = frames.encode(
            {"result": {"text": "é", "list": [1, True, None]}}, bytes_max=256
        )
        frames.decode(sample[frames.HEADER_BYTES :], depth_max=3)
        http1.warm_up()


def take_call() -> tuple[str, Call]:
    """Wait for the one call, with the connection that it may use.

    Raises:
        FrameError: What came is no call.
        EOFError: The dispatcher has gone, or no connection came with the call.
    """
    # The descriptor comes with the first byte, and takes the lowest free number.
    with socket.socket(fileno=CHANNEL) as channel:
        header, descriptors, _, _ = socket.recv_fds(channel, frames.HEADER_BYTES, 1)
        channel.detach()
    if descriptors != [EGRESS]:
        msg = "no connection came with the call"
        raise EOFError(msg)
    header += _exactly(frames.HEADER_BYTES - len(header))
    body = _exactly(frames.size(header, bytes_max=limits.REQUEST_BYTES_MAX))
    found: dict[str, Any] = frames.decode(body, depth_max=limits.FRAME_DEPTH_MAX)
    call = Call(
        arguments=found["arguments"],
        customer=found["customer"],
        action=found["action"],
        http=Http(http1.Connection(EGRESS)),
    )
    return found["entry"], call


def report(message: Mapping[str, object]) -> None:
    """Write the result frame; one that cannot be written becomes an error frame.

    Raises:
        OSError: The dispatcher has gone.
    """
    try:
        data = frames.encode(message, bytes_max=limits.RESULT_BYTES_MAX)
    except frames.FrameError as error:
        data = frames.encode(
            _error(f"result_{error.problem}", ""), bytes_max=limits.RESULT_BYTES_MAX
        )
    view = memoryview(data)
    while view:
        view = view[os.write(CHANNEL, view) :]


def _failed(error: Exception | None) -> dict[str, object]:
    # The type's name alone: a message may hold the customer's data.
    return _error("exception", type(error).__name__)


def _error(code: object, message: object) -> dict[str, object]:
    # Both come from connector code. The dispatcher cuts and cleans them: what this
    # process does about them, connector code could undo.
    text = str(message)[: limits.ERROR_MESSAGE_CHARS_MAX]
    return {"error": {"code": str(code)[: limits.NOTICE_BYTES_MAX], "message": text}}


def _exactly(count: int) -> bytes:
    data = b""
    while len(data) < count:
        part = os.read(CHANNEL, count - len(data))
        if not part:
            msg = "the dispatcher has gone"
            raise EOFError(msg)
        data += part
    return data
