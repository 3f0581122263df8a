"""The sweeper: one failing piece of work does not keep the others from being done."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from broker import flow, sweeper
from broker.core.words.action import ActionState
from broker.core.words.errors import StoreUnavailableError
from broker.effects.clock import RandomIds, SystemClock
from broker.sweeper import (
    INTERRUPTED_BESIDE_MAX,
    REFUSED_BESIDE_MAX,
    REVOKED_BATCHES_MAX,
    SWEEP_EVERY_S,
    SWEEP_MAX,
)
from tests.support.cases import record
from tests.support.flow.house import AGENT_ID, House

if TYPE_CHECKING:
    from collections.abc import Sequence

    from broker.core.words.action import ActionRecord
    from broker.ports import Store

FAULTS = [StoreUnavailableError("away"), RuntimeError("our own mistake")]


@dataclass
class SickStore:
    """A store that fails for one action, or for one whole question."""

    store: Store
    error: Exception
    action_id: str = ""
    question: str = ""

    def __getattr__(self, name: str) -> Any:
        if name == self.question:
            raise self.error
        return getattr(self.store, name)

    async def action(self, action_id: str) -> ActionRecord | None:
        if action_id == self.action_id:
            raise self.error
        return await self.store.action(action_id)


@dataclass
class CrowdedStore:
    """A store with more interrupted actions than one sweep takes."""

    asked: list[str] = field(default_factory=list)

    async def interrupted(self, *, limit: int) -> Sequence[str]:
        return [str(number) for number in range(SWEEP_MAX + 1)][:limit]

    async def action(self, action_id: str) -> None:
        self.asked.append(action_id)


async def refunds(house: House, amount: int, *, dies: bool = False) -> list[str]:
    """Ask for two refunds, and return their ids, oldest first.

    With ``dies`` the replica ends each time before anything is sent.
    """
    interaction = await house.interaction()
    await house.read_order(interaction)
    house.executor.dies = dies
    for number in range(2):
        with contextlib.suppress(asyncio.CancelledError):
            await flow.submit(
                house.ports, house.refund(interaction, amount, key=f"k{number}")
            )
    sql = (
        "SELECT action_id FROM action WHERE tool = 'orders.refund' ORDER BY created_at"
    )
    return [str(row["action_id"]) for row in await house.database.rows(sql)]


async def state(house: House, action_id: str) -> ActionState:
    record = await house.ports.store.action(action_id)
    assert record is not None
    return record.state


@pytest.mark.parametrize("error", FAULTS, ids=repr)
async def test_an_interrupted_action_that_cannot_be_settled_delays_no_other(
    house: House, error: Exception
) -> None:
    sick, well = await refunds(house, 1_000, dies=True)
    house.executor.dies = False
    await house.lapse()
    ports = replace(
        house.ports, store=SickStore(house.ports.store, error, action_id=sick)
    )
    await sweeper.interrupted(ports)
    assert await state(house, well) is ActionState.DONE
    assert await state(house, sick) is ActionState.EXECUTING
    await sweeper.interrupted(house.ports)
    assert await state(house, sick) is ActionState.DONE
    assert house.executor.amounts() == [1_000, 1_000]


@pytest.mark.parametrize("error", FAULTS, ids=repr)
async def test_a_revoked_action_that_cannot_be_ended_delays_no_other(
    house: House, error: Exception
) -> None:
    sick, well = await refunds(house, 20_000)
    await house.revoke(f"agent:{AGENT_ID}")
    ports = replace(
        house.ports, store=SickStore(house.ports.store, error, action_id=sick)
    )
    await sweeper.revoked(ports)
    assert await state(house, well) is ActionState.REFUSED
    assert await state(house, sick) is ActionState.PENDING_APPROVAL
    assert await house.held() == 20_000
    await sweeper.revoked(house.ports)
    assert await house.held() == 0


@pytest.mark.parametrize("error", FAULTS, ids=repr)
async def test_a_kind_of_work_that_fails_as_a_whole_delays_no_other_kind(
    house: House, error: Exception
) -> None:
    first, second = await refunds(house, 20_000)
    await house.revoke(f"agent:{AGENT_ID}")
    sick = SickStore(house.ports.store, error, question="interrupted")
    sweeping = asyncio.create_task(
        sweeper.sweep_for_ever(replace(house.ports, store=sick))
    )
    try:
        async with asyncio.timeout(10 * SWEEP_EVERY_S):
            while await house.held():  # noqa: ASYNC110  (nothing tells)
                await asyncio.sleep(0.05)
    finally:
        sweeping.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await sweeping
    assert await state(house, first) is ActionState.REFUSED
    assert await state(house, second) is ActionState.REFUSED


async def test_one_sweep_takes_so_many_actions_and_not_one_more(house: House) -> None:
    crowded = CrowdedStore()
    await sweeper.interrupted(replace(house.ports, store=crowded))  # type: ignore[arg-type]
    assert len(crowded.asked) == SWEEP_MAX


@dataclass
class SlowStore:
    """A store in which every interrupted action takes as long as all of them."""

    here: int = 0
    most: int = 0
    together: asyncio.Event = field(default_factory=asyncio.Event)

    async def interrupted(self, *, limit: int) -> list[str]:
        return [str(number) for number in range(limit)]

    async def action(self, action_id: str) -> None:
        self.here += 1
        self.most = max(self.most, self.here)
        if self.here == INTERRUPTED_BESIDE_MAX:
            self.together.set()
        await self.together.wait()
        await asyncio.sleep(0)
        self.here -= 1


async def test_a_slow_interrupted_action_delays_few_others() -> None:
    store = SlowStore()
    ports: Any = SimpleNamespace(store=store)
    async with asyncio.timeout(10):
        await sweeper.interrupted(ports)
    assert store.most == INTERRUPTED_BESIDE_MAX


@dataclass
class FloodedStore:
    """A store in which the pending actions of a revoked identity do not end."""

    ends: bool = True
    beside: int = 0
    most: int = 0
    asked: int = 0

    async def revoked(self, *, limit: int) -> list[str]:
        self.asked += 1
        return [f"a{number}" for number in range(limit)]

    async def action(self, action_id: str) -> ActionRecord:
        self.beside += 1
        self.most = max(self.most, self.beside)
        await asyncio.sleep(0)
        return record()

    async def refuse(self, action_id: str, **_: Any) -> bool:
        self.beside -= 1
        return self.ends


@pytest.mark.parametrize(("ends", "batches"), [(True, REVOKED_BATCHES_MAX), (False, 1)])
async def test_a_flood_of_revoked_actions_is_ended_some_at_a_time_and_lets_others_in(
    *, ends: bool, batches: int
) -> None:
    store = FloodedStore(ends)
    ports: Any = SimpleNamespace(
        store=store, ids=RandomIds(), clock=SystemClock(), replica="broker-0"
    )
    await sweeper.revoked(ports)
    assert (store.asked, store.most) == (batches, REFUSED_BESIDE_MAX)
