"""Whoever keeps time, fake and real: starts once, takes news in, is driven out."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio

from broker.core.words.errors import UnavailableError
from broker.effects.clock import RandomIds
from broker.effects.temporal.client import Timekeeper
from tests.support.approvals.keeper import FakeKeeper, squatting
from tests.support.approvals.timekeeping import KEYS, Stage, open_stage, place
from tests.support.approvals.voters import large_refund
from tests.support.flow.house import open_house
from tests.support.flow.template import pg_template
from tests.support.servers import connect_temporal

if TYPE_CHECKING:
    from broker.effects.temporal.outbox import Keeper


__all__ = ["pg_template"]


@dataclass
class FakeRig:
    """The fake, and who squats on its ids."""

    keeper: FakeKeeper = field(default_factory=FakeKeeper)

    async def approval(self) -> str:
        return RandomIds().new()

    @asynccontextmanager
    async def squatted(self, approval_id: str) -> AsyncIterator[None]:
        self.keeper.squatted.add(approval_id)
        yield

    def away(self) -> Keeper:
        return FakeKeeper(down=True)


@dataclass
class RealRig:
    """A real Temporal with a worker of ours, and one that is not."""

    stage: Stage

    @property
    def keeper(self) -> Timekeeper:
        return self.stage.timekeeper

    async def approval(self) -> str:
        return (await large_refund(self.stage.house)).approval_id

    @asynccontextmanager
    async def squatted(self, approval_id: str) -> AsyncIterator[None]:
        client = await connect_temporal(self.stage.access)
        queue = f"{self.stage.queue}-foreign"
        async with squatting(client, approval_id, queue=queue):
            yield

    def away(self) -> Keeper:
        nowhere = str(Path(self.stage.access.temporal_proxy).parent / "gone.sock")
        here = place(self.stage.access, self.stage.queue, proxy=nowhere)
        return Timekeeper(here, keys=KEYS)


@pytest.fixture(params=["fake", "real"])
def where(request: pytest.FixtureRequest) -> dict[str, Any]:
    """Return what the real one stands on; nothing for the fake."""
    if request.param == "fake":
        return {}
    names = ("pg_broker_dsn", "pg_dsn", "servers", "temporal_task_queue")
    return {name: request.getfixturevalue(name) for name in names}


@pytest_asyncio.fixture
async def rig(where: dict[str, Any]) -> AsyncIterator[FakeRig | RealRig]:
    if not where:
        yield FakeRig()
        return
    async with (
        open_house(where["pg_broker_dsn"], owner_dsn=where["pg_dsn"]) as house,
        open_stage(house, where["servers"], where["temporal_task_queue"]) as stage,
        stage.worker(),
    ):
        yield RealRig(stage)


async def test_a_run_is_started_as_often_as_it_is_asked_for_and_takes_news(rig) -> None:
    approval_id = await rig.approval()
    await rig.keeper.start(approval_id)
    await rig.keeper.start(approval_id)
    assert await rig.keeper.tell(approval_id, "vote-1")
    assert await rig.keeper.tell(approval_id, "vote-1")
    assert not await rig.keeper.drive_out(approval_id, stuck=False)


async def test_news_for_a_run_that_is_not_there_is_no_failure(rig) -> None:
    approval_id = await rig.approval()
    assert await rig.keeper.tell(approval_id, "vote-1")
    assert not await rig.keeper.drive_out(approval_id, stuck=False)


async def test_whoever_squats_refuses_the_news_and_is_driven_out_once(rig) -> None:
    approval_id = await rig.approval()
    async with rig.squatted(approval_id):
        assert not await rig.keeper.tell(approval_id, "vote-1")
        assert await rig.keeper.drive_out(approval_id, stuck=False)
        assert not await rig.keeper.drive_out(approval_id, stuck=False)
        await rig.keeper.start(approval_id)
        assert await rig.keeper.tell(approval_id, "vote-1")


async def test_one_that_is_away_says_so(rig) -> None:
    approval_id, keeper = await rig.approval(), rig.away()
    for call in (keeper.start(approval_id), keeper.tell(approval_id, "vote-1")):
        with pytest.raises(UnavailableError):
            await call
