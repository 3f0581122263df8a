"""What runs and activities say to each other: an approval's id, and where it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

LOOK: Final = "look"
"""Activity: ask the broker where an approval is."""

SETTLE: Final = "settle"
"""Activity: have the broker settle an approved action; it verifies everything again."""

EXPIRE: Final = "expire"
"""Activity: have the broker do what time has made due: remind, ask on, or end it."""

ROTATE: Final = "rotate_if_due"
"""Activity: tell the broker to rotate its signing key if it is time."""

ROTATION: Final = "rotation"
"""Workflow: tells it so; its schedule is named after it and the task queue."""

NO_SUCH_APPROVAL: Final = "no_such_approval"
"""Type of the failure that says that the broker knows no such approval."""


@dataclass(frozen=True)
class Standing:
    """Where an approval and its action are, as the broker says.

    ``left_s`` is what is left until time makes the next thing due, in seconds, by the
    database's clock; what that is, the broker knows.
    """

    approval: str
    action: str
    left_s: float
