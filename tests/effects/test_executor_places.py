"""The executor's places: slow calls keep neither a greeting nor a question waiting."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio

from broker.core.execute import WARRANT_TTL_S
from broker.core.jwk import Algorithm
from broker.core.words.errors import ExecutorUnavailableError
from broker.core.words.warrant import SentState
from broker.effects.keyfiles import publish_key
from broker.effects.runner.line import (
    CALLS_MAX,
    CONNECT_S_MAX,
    PLACE_S_MAX,
    QUESTIONS_MAX,
)
from tests.support.flow.fake_runner import IDS, Stage, made, on_stage, warrant
from tests.support.identities import key_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

SLACK_S = 1.5


@pytest_asyncio.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    async with on_stage(tmp_path) as made_up:
        yield made_up


class Held:
    """Answers of a runner that come when they are let go."""

    def __init__(self, answer: Callable[[dict[str, Any]], Awaitable[Any]]) -> None:
        self.answer = answer
        self.here = 0
        self.free = asyncio.Event()
        self.full = asyncio.Event()
        self.most = 0

    async def __call__(self, message: dict[str, Any]) -> Any:
        self.here += 1
        if self.here == self.most:
            self.full.set()
        await self.free.wait()
        return await self.answer(message)


async def test_while_all_runs_are_slow_the_edge_is_greeted_and_asked_at_once(
    stage: Stage,
) -> None:
    held = stage.runner.run = Held(stage.runner.done)
    held.most = CALLS_MAX
    runs = [
        asyncio.create_task(stage.executor.run(warrant(), timeout_s=10))
        for _ in range(CALLS_MAX)
    ]
    await held.full.wait()
    began = time.monotonic()
    assert await stage.executor.address() == ("edge-1", "boot-1")
    asked = await stage.executor.ask(IDS.new(), IDS.new())
    assert asked.receipt is not None
    assert asked.receipt.state is SentState.NOT_SENT
    # One more run is told in time that there is no place, and that nothing was sent.
    with pytest.raises(ExecutorUnavailableError, match="no place") as caught:
        await stage.executor.run(warrant(), timeout_s=10)
    assert caught.value.retry_after_s
    assert time.monotonic() - began < PLACE_S_MAX + SLACK_S
    assert stage.runner.ops().count("run") == CALLS_MAX
    held.free.set()
    done = await asyncio.gather(*runs)
    assert all(ran.receipt is not None for ran in done)
    # What waited in vain took no place with it.
    assert (await stage.executor.run(warrant(), timeout_s=5)).receipt is not None


async def test_so_many_questions_are_asked_at_once_and_not_one_more(
    stage: Stage,
) -> None:
    held = stage.runner.ask = Held(stage.runner.asked)
    held.most = QUESTIONS_MAX
    asks = [
        asyncio.create_task(stage.executor.ask(IDS.new(), IDS.new()))
        for _ in range(QUESTIONS_MAX)
    ]
    await held.full.wait()
    with pytest.raises(ExecutorUnavailableError, match="no place"):
        await stage.executor.ask(IDS.new(), IDS.new())
    held.free.set()
    done = await asyncio.gather(*asks)
    assert all(ran.receipt is not None for ran in done)


def test_a_warrant_that_waited_for_a_place_has_not_run_out_when_it_is_sent() -> None:
    assert PLACE_S_MAX + CONNECT_S_MAX < WARRANT_TTL_S


async def test_an_edge_that_has_no_key_yet_is_unavailable(tmp_path: Path) -> None:
    async with on_stage(tmp_path) as stage:
        (tmp_path / "receipt.jwk").unlink()
        executor = made(tmp_path, _nothing)
        with pytest.raises(ExecutorUnavailableError, match="receipt key"):
            await executor.address()
        publish_key(tmp_path / "receipt.jwk", stage.runner.key.public())
        assert await executor.address() == ("edge-1", "boot-1")
        await executor.close()


async def test_the_key_of_an_edge_that_was_set_up_anew_is_read_without_a_restart(
    stage: Stage, tmp_path: Path
) -> None:
    await stage.executor.run(warrant(), timeout_s=5)
    stage.runner.key = key_of("edge-anew", Algorithm.EDDSA)
    publish_key(tmp_path / "receipt.jwk", stage.runner.key.public())
    ran = await stage.executor.run(warrant(), timeout_s=5)
    assert ran.receipt is not None
    assert ran.receipt.state is SentState.ANSWERED


async def _nothing(_: object) -> None:
    """Record nothing."""
