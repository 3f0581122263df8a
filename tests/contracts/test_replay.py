"""The memory of single uses, fake and real: what was lost is never believed."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio
from redis.asyncio import Redis

from broker.core.words.identity import OneUse
from broker.effects.clock import SystemClock
from broker.effects.database import Database
from broker.effects.replay import ReplayMemory, Valkey
from tests.support.fake_registry import FakeMemory

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

NOWHERE = "unix:///nowhere/valkey.sock"


def now() -> datetime:
    return datetime.now(UTC)


def use(seconds: float = 70) -> OneUse:
    return OneUse(os.urandom(32), now() + timedelta(seconds=seconds))


@dataclass
class FakeRig:
    """Two replicas on one fake memory."""

    memory: FakeMemory = field(default_factory=lambda: FakeMemory(now=now))

    @property
    def replicas(self) -> list[Any]:
        return [self.memory, self.memory]

    async def forget(self) -> None:
        self.memory.forget()

    async def leave(self) -> None:
        self.memory.away = True

    async def come_back(self) -> None:
        self.memory.away = False


@dataclass
class RealRig:
    """Two replicas on one PostgreSQL and one Valkey, which can be cut off."""

    url: str
    replicas: list[ReplayMemory]

    async def forget(self) -> None:
        async with Redis.from_url(self.url) as client:
            await client.flushdb()

    async def leave(self) -> None:
        for replica in self.replicas:
            await self._use(replica, NOWHERE)

    async def come_back(self) -> None:
        for replica in self.replicas:
            await self._use(replica, self.url)
            # Asked at once, as the next call after PROBE_S would have it asked.
            await replica._try_valkey(replica._state)  # noqa: SLF001

    async def _use(self, replica: ReplayMemory, url: str) -> None:
        await replica.close()
        replica._valkey = Valkey(url)  # noqa: SLF001


@pytest.fixture(params=["fake", "real"])
def where(request: pytest.FixtureRequest) -> tuple[str, str]:
    """Return where the real one's servers are; nothing for the fake."""
    if request.param == "fake":
        return "", ""
    return (
        str(request.getfixturevalue("pg_broker_dsn")),
        str(request.getfixturevalue("valkey_url")),
    )


@pytest_asyncio.fixture
async def rig(where: tuple[str, str]) -> AsyncIterator[FakeRig | RealRig]:
    dsn, url = where
    if not dsn:
        yield FakeRig()
        return
    database = Database(dsn, password="")
    replicas = [
        ReplayMemory(database, valkey=Valkey(url), clock=SystemClock())
        for _ in range(2)
    ]
    yield RealRig(url, replicas)
    for replica in replicas:
        await replica.close()
    await database.close()


async def first(replica: Any, one: OneUse) -> bool:
    """Ask as the front door does: again under the new rule if the epoch moved."""
    for _ in range(4):
        rule = await replica.rule()
        answer = await replica.first_proof(one, epoch=rule.epoch)
        if answer is not None:
            return bool(answer)
        await replica.refresh()
    raise AssertionError


async def test_a_use_is_the_first_one_once_whichever_replica_is_asked(rig):
    here, there = rig.replicas
    one, other = use(), use()
    assert await first(here, one)
    assert not await first(here, one)
    assert not await first(there, one)
    assert await first(there, other)
    assert not await first(here, other)


async def test_a_quiet_start_asks_nobody_for_a_nonce(rig):
    here, _ = rig.replicas
    await first(here, use())
    assert not (await here.rule()).demands(now())


async def test_after_a_loss_proofs_of_before_are_refused_for_want_of_a_nonce(rig):
    here, _ = rig.replicas
    await first(here, use())
    before = await here.rule()
    await rig.forget()
    assert await here.first_proof(use(), epoch=before.epoch) is None
    after = await here.refresh()
    assert after.epoch > before.epoch
    assert after.demands(now())
    assert not after.demands(now() + timedelta(seconds=120))


async def test_a_use_under_an_epoch_that_has_passed_is_not_decided(rig):
    here, there = rig.replicas
    await first(here, use())
    await first(there, use())
    old = (await here.rule()).epoch
    await rig.forget()
    await first(here, use())
    assert await here.first_proof(use(), epoch=old) is None
    assert await there.first_proof(use(), epoch=old) is None
    assert (await there.refresh()).epoch == (await here.rule()).epoch


async def test_while_the_fast_memory_is_away_every_proof_needs_a_nonce(rig):
    here, there = rig.replicas
    await first(here, use())
    await rig.leave()
    one = use()
    assert await first(here, one)
    assert not await first(here, one)
    assert not await first(there, one)
    for replica in (here, there):
        assert (await replica.rule()).demands(now() + timedelta(days=1))


async def test_when_the_fast_memory_is_back_it_remembers_again_under_a_new_epoch(rig):
    here, there = rig.replicas
    await first(here, use())
    await rig.leave()
    await first(here, use())
    away = (await here.rule()).epoch
    await rig.come_back()
    one = use()
    assert await first(here, one)
    assert not await first(there, one)
    back = await here.rule()
    assert back.epoch > away
    assert back.demands(now())
    assert not back.demands(now() + timedelta(seconds=120))


async def test_assertions_are_remembered_whatever_happens_to_the_fast_memory(rig):
    here, there = rig.replicas
    one = use()
    assert await here.first_ever(one)
    await rig.forget()
    assert not await there.first_ever(one)
    await rig.leave()
    assert not await here.first_ever(one)
    await rig.come_back()
    assert not await there.first_ever(one)


async def test_of_many_equal_uses_at_once_one_is_the_first(rig):
    await first(rig.replicas[0], use())
    await first(rig.replicas[1], use())
    for ask in (first, lambda replica, one: replica.first_ever(one)):
        one = use()
        answers = await asyncio.gather(
            *(ask(rig.replicas[number % 2], one) for number in range(50))
        )
        assert sorted(answers) == [False] * 49 + [True]
