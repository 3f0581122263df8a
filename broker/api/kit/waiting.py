"""Wait for an action to end: looks that grow apart, and few of them for one agent."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from broker.core.words.action import ENDED

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Awaitable, Callable

    from broker.core.words.action import ActionRecord

WAITS_MAX: Final = 16
"""Calls of one agent that wait at one replica; one more is answered as it stands."""

POLL_S_FIRST: Final = 0.2
POLL_S_MAX: Final = 1.0
_GROWTH: Final = 1.5


async def until_ended(
    look: Callable[[], Awaitable[ActionRecord]],
    *,
    waits: Counter[str],
    who: str,
    wait_s: float,
) -> ActionRecord:
    """Return an action once it has ended, or as it is after ``wait_s`` seconds.

    Args:
        look: Reads it; each look opens its payloads.
        waits: How many calls of each agent wait here.
        who: The agent.
        wait_s: How long.
    """
    loop = asyncio.get_running_loop()
    until, pause_s = loop.time() + wait_s, POLL_S_FIRST
    record = await look()
    if waits[who] >= WAITS_MAX:
        return record
    waits[who] += 1
    try:
        while record.state not in ENDED and loop.time() < until:
            await asyncio.sleep(min(pause_s, max(0.0, until - loop.time())))
            pause_s = min(pause_s * _GROWTH, POLL_S_MAX)
            record = await look()
    finally:
        waits[who] -= 1
        if not waits[who]:
            del waits[who]
    return record
