"""Describe the parts of a stack as values; what they do is in supervisor.py."""

import signal
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import TypeAlias

READY_S_MAX = 30.0
STOP_S_MAX = 8.0


@dataclass(frozen=True, slots=True)
class SocketAnswers:
    """Ready once a unix socket accepts a connection."""

    path: Path


@dataclass(frozen=True, slots=True)
class PageAnswers:
    """Ready once a GET is answered with 200."""

    host: str
    port: int
    path: str


@dataclass(frozen=True, slots=True)
class FileExists:
    """Ready once the part has made a file, which is removed before each start."""

    path: Path


@dataclass(frozen=True, slots=True)
class PostgresAsks:
    """Ready once the server asks for a password; while it recovers it refuses."""

    path: Path
    user: str


@dataclass(frozen=True, slots=True)
class ValkeyAnswers:
    """Ready once PING is answered; while data are loaded it is refused."""

    path: Path
    password_file: Path


@dataclass(frozen=True, slots=True)
class Ends:
    """Ready once the part has ended with exit code 0: it runs once per start."""


Probe: TypeAlias = (
    SocketAnswers | PageAnswers | FileExists | PostgresAsks | ValkeyAnswers | Ends
)


@dataclass(frozen=True, slots=True)
class Rule:
    """What a confined part may reach; everything else it may not.

    Attributes:
        read: Paths to read and execute.
        write: Paths to do everything with.
        hidden: Paths left out of both where they stand inside one of them.
    """

    read: tuple[Path, ...]
    write: tuple[Path, ...]
    hidden: tuple[Path, ...] = ()


class Namespaces(Enum):
    """Which namespaces a part is started in."""

    NONE = "none"
    USER = "user"
    USER_AND_NETWORK = "user and network"


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One process of the stack.

    Attributes:
        name: Unique; names its log file too.
        argv: Absolute path of the program, then its arguments; no secret.
        environment: The whole environment; no secret.
        address: Where it is reached, for the table; empty for nowhere.
        probe: How it is known to be ready.
        after: Parts that must be ready before this one is started.
        uses: Further parts that must outlive this one; it does not wait for them.
        rule: What it may reach, or None for everything its user may.
        namespaces: Its own view of users and network.
        stop_signal: What asks it to end in good order.
        stop_s_max: How long that may take before it is killed.
        ready_s_max: How long it may take to become ready.
    """

    name: str
    argv: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    address: str = ""
    probe: Probe
    after: tuple[str, ...] = ()
    uses: tuple[str, ...] = ()
    rule: Rule | None = None
    namespaces: Namespaces = Namespaces.NONE
    stop_signal: signal.Signals = signal.SIGTERM
    stop_s_max: float = STOP_S_MAX
    ready_s_max: float = READY_S_MAX

    @property
    def one_shot(self) -> bool:
        """Tell whether it is over once it is ready."""
        return isinstance(self.probe, Ends)

    def outlived_by(self) -> tuple[str, ...]:
        """Return the parts that may only stop once this one has."""
        return (*self.after, *self.uses)


class PartState(Enum):
    """Where a part stands; the words are those of the table."""

    WAITING = "waiting"
    STARTING = "starting"
    READY = "ready"
    NOT_ANSWERING = "not answering"
    DONE = "done"
    RESTARTING = "restarting"
    STOPPING = "stopping"
    STOPPED = "stopped"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class PartEvent:
    """A part changed its state.

    Attributes:
        part: The part's name.
        state: What it is now.
        pid: Its process; 0 when there is none.
        took_s: Seconds since it was started, where that says something.
        restarts: How often it had to be started again.
        detail: What happened, in one line; empty when nothing did.
    """

    part: str
    state: PartState
    pid: int = 0
    took_s: float = 0.0
    restarts: int = 0
    detail: str = ""


def in_order(parts: Iterable[Part]) -> tuple[Part, ...]:
    """Return the parts so that each comes after all it needs.

    Raises:
        ValueError: A part needs one that is not there, or needs itself in a circle.
    """
    waiting = {part.name: part for part in parts}
    ordered: list[Part] = []
    names: set[str] = set()
    while waiting:
        next_ones = [
            part for part in waiting.values() if names.issuperset(part.outlived_by())
        ]
        if not next_ones:
            msg = f"parts that need what is not there, or each other: {[*waiting]}"
            raise ValueError(msg)
        ordered.extend(waiting.pop(part.name) for part in next_ones)
        names.update(part.name for part in next_ones)
    return tuple(ordered)
