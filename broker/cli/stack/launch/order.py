"""Say how a process is to be started, as a value that fits on a command line."""

import json
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """How to become one process.

    Attributes:
        argv: Absolute path of the program, then its arguments.
        parent: Process that this one must not outlive.
        user_namespace: Enter a user namespace; root becomes uid 65534 inside.
        network_namespace: Enter a network of its own as well.
        confined: Apply Landlock with the three lists of paths that follow.
        read: Paths to read and execute.
        write: Paths to do everything with.
        hidden: Paths left out of the other two.
    """

    argv: tuple[str, ...]
    parent: int
    user_namespace: bool = False
    network_namespace: bool = False
    confined: bool = False
    read: tuple[str, ...] = ()
    write: tuple[str, ...] = ()
    hidden: tuple[str, ...] = ()


def order_to_json(order: Order) -> str:
    """Write an order so that the launcher can read it."""
    return json.dumps(asdict(order), separators=(",", ":"))


def order_from_json(text: str) -> Order:
    """Read an order back.

    Raises:
        TypeError: The text holds a field that an order has not.
        ValueError: The text is no JSON.
    """
    fields: dict[str, Any] = json.loads(text)
    for name, value in fields.items():
        if isinstance(value, list):
            fields[name] = tuple(value)
    return Order(**fields)
