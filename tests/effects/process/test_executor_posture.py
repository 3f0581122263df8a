"""The executor: how connectors are confined is recorded before any of them runs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
import pytest_asyncio

from broker.core.warrants.sandbox import Sandbox
from broker.core.words.errors import (
    ExecutorUnavailableError,
    LedgerUnavailableError,
)
from broker.effects.executor import (
    HELLO_KEPT_S,
)
from tests.support.flow.fake_runner import (
    Stage,
    confined,
    made,
    on_stage,
    warrant,
)


@pytest_asyncio.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    async with on_stage(tmp_path) as made_up:
        yield made_up


async def test_how_connectors_are_confined_is_recorded_once_and_when_it_changes(
    stage: Stage,
) -> None:
    await asyncio.gather(*(stage.executor.address() for _ in range(3)))
    assert [found.posture for found in stage.recorded] == ["strict"]
    stage.runner.sandbox = confined("standard")
    await asyncio.sleep(HELLO_KEPT_S + 0.1)
    await stage.executor.address()
    assert [found.posture for found in stage.recorded] == ["strict", "standard"]


async def test_nothing_is_sent_to_a_runner_whose_posture_cannot_be_recorded(
    stage: Stage, tmp_path: Path
) -> None:
    down = [True]

    async def record(_: Sandbox) -> None:
        if down[0]:
            msg = "the log is away"
            raise LedgerUnavailableError(msg)

    executor = made(tmp_path, record)
    for _ in range(2):
        with pytest.raises(LedgerUnavailableError):
            await executor.address()
    down[0] = False
    assert await executor.address() == ("edge-1", "boot-1")
    await executor.close()


async def test_a_runner_that_does_not_say_how_it_confines_is_no_executor(
    stage: Stage,
) -> None:
    stage.runner.sandbox = None
    with pytest.raises(ExecutorUnavailableError, match="confines"):
        await stage.executor.address()
    assert stage.recorded == []


async def test_with_the_sandbox_switched_off_tier_3_is_never_sent(stage: Stage) -> None:
    stage.runner.sandbox = confined("off", attempts={})
    await stage.executor.address()
    refund = replace(warrant(), tool="orders.refund")
    with pytest.raises(ExecutorUnavailableError, match="Tier 3"):
        await stage.executor.run(refund, timeout_s=1)
    assert "run" not in stage.runner.ops()
    assert (await stage.executor.run(warrant(), timeout_s=1)).receipt is not None


async def test_an_outcome_carries_the_posture_that_the_runner_names(
    stage: Stage,
) -> None:
    ran = await stage.executor.run(warrant(), timeout_s=1)
    assert ran.posture == "standard"
