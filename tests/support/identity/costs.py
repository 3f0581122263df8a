"""What a refusal costs: signatures that are checked, counted where C checks them."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType


def signatures_checked(refused: Callable[[], object]) -> int:
    """Return how many signatures are checked while something is refused."""
    found: list[object] = []

    def seen(_frame: FrameType, event: str, what: Any) -> None:
        if event == "c_call" and what.__name__ == "verify":
            found.append(what)

    sys.setprofile(seen)
    try:
        refused()
    finally:
        sys.setprofile(None)
    return len(found)
