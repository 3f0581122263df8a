"""Waiting for an action: looks grow apart, and one agent has so many waits."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import pytest

from broker.api.kit.waiting import POLL_S_MAX, WAITS_MAX, until_ended
from broker.core.words.action import ActionState
from tests.support.cases import record

if TYPE_CHECKING:
    from broker.core.words.action import ActionRecord


@dataclass
class Looks:
    """An action that ends when a test says so, and when it was looked at."""

    state: ActionState = ActionState.PENDING_APPROVAL
    times: list[float] = field(default_factory=list)

    async def __call__(self) -> ActionRecord:
        self.times.append(asyncio.get_running_loop().time())
        return replace(record(), state=self.state)


async def test_looks_grow_apart_and_find_the_end() -> None:
    looks, waits = Looks(), Counter[str]()
    wait = until_ended(looks, waits=waits, who="a", wait_s=30)
    waiting = asyncio.create_task(wait)
    await asyncio.sleep(1.5)
    assert waits["a"] == 1
    looks.state = ActionState.DONE
    assert (await waiting).state is ActionState.DONE
    # As often as it was looked every fifth of a second, it would be eight times.
    assert len(looks.times) <= 6
    gaps = [b - a for a, b in zip(looks.times, looks.times[1:], strict=False)]
    assert gaps[-1] > gaps[0]
    assert gaps[0] < POLL_S_MAX
    assert waits == Counter()


async def test_one_wait_past_the_limit_is_answered_at_once_and_others_wait() -> None:
    looks, waits = Looks(), Counter[str]()

    def wait(who: str) -> asyncio.Task[ActionRecord]:
        return asyncio.create_task(until_ended(looks, waits=waits, who=who, wait_s=30))

    full = [wait("a") for _ in range(WAITS_MAX)]
    await asyncio.sleep(0)
    async with asyncio.timeout(5):
        assert (await wait("a")).state is ActionState.PENDING_APPROVAL
    assert waits["a"] == WAITS_MAX
    other = wait("b")
    await asyncio.sleep(0)
    assert not other.done()
    for one in (*full, other):
        one.cancel()
    for one in (*full, other):
        with pytest.raises(asyncio.CancelledError):
            await one
    # Who went away has given its place back.
    assert waits == Counter()
