"""Say what happens to a stack while it runs, as values and as JSON lines."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, TypeAlias

from broker.cli.stack.parts import PartEvent, PartState


@dataclass(frozen=True, slots=True)
class Note:
    """Something that the user should know; nothing is wrong."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of the table: a part, where it is reached, and how it is.

    Attributes:
        part: Its name.
        address: Empty when nobody calls it.
        state: A word of ``PartState``, or ``elsewhere``.
        pid: 0 without a process of ours.
        restarts: How often it had to be started again.
        detail: What happened to it last, if anything did.
        pss_kib: Its share of the memory in use, with its children; None if unknown.
    """

    part: str
    address: str
    state: str
    pid: int = 0
    restarts: int = 0
    detail: str = ""
    pss_kib: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Up:
    """Everything is ready.

    Attributes:
        issuer: Base URL of the first broker.
        took_s: Seconds since the start.
        rows: The table.
    """

    issuer: str
    took_s: float
    rows: tuple[Row, ...] = ()


@dataclass(frozen=True, slots=True)
class Said:
    """A line of the demo agent's first calls."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """The way into the console; whoever has it gets in, so no log takes it.

    Attributes:
        url: It works once, for five minutes.
        person: Whom it signs in.
    """

    url: str
    person: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """It did not work.

    Attributes:
        error: What happened.
        hint: What to do next.
        log: The end of the log of the part that failed.
    """

    error: str
    hint: str = ""
    log: str = ""


@dataclass(frozen=True, slots=True)
class Down:
    """Every part has stopped."""

    took_s: float


Event: TypeAlias = PartEvent | Note | Up | Said | Link | Failed | Down

_NAMES: Mapping[type[Any], str] = {
    PartEvent: "part",
    Note: "note",
    Up: "up",
    Said: "said",
    Link: "link",
    Failed: "failed",
    Down: "down",
}
_TYPES = {name: kind for kind, name in _NAMES.items()}


def to_json(event: Event) -> str:
    """Write an event as one line of JSON; ``event`` names its kind."""
    fields = asdict(event)
    if isinstance(event, PartEvent):
        fields["state"] = event.state.value
    return json.dumps({"event": _NAMES[type(event)], **fields})


def from_json(line: str) -> Event:
    """Read an event back.

    Raises:
        KeyError: The kind is unknown.
        TypeError: A field is unknown or missing.
        ValueError: The line is no JSON.
    """
    fields: dict[str, Any] = json.loads(line)
    kind = _TYPES[fields.pop("event")]
    if kind is PartEvent:
        fields["state"] = PartState(fields["state"])
    if kind is Up:
        fields["rows"] = tuple(Row(**row) for row in fields["rows"])
    event: Event = kind(**fields)
    return event
