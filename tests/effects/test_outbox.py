"""The outbox: at least once, from every replica, whatever Temporal does."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio

from broker.approving import ending
from broker.core.words.action import ActionState
from broker.core.words.errors import UnavailableError
from broker.effects.temporal.client import CALL_S_MAX, Timekeeper
from broker.effects.temporal.outbox import (
    ACKNOWLEDGE_S_MAX,
    BATCH_MAX,
    LEASE_S,
    RETRY_S_MAX,
    SENDING_MAX,
    STUCK_TRIES,
    Outbox,
)
from tests.support.approvals.keeper import FakeKeeper
from tests.support.approvals.timekeeping import KEYS, open_stage, place, until
from tests.support.approvals.voters import LARGE, approve, large_refund, state_of
from tests.support.flow.house import House, open_house
from tests.support.flow.template import pg_template

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from broker.cli.stack.embedded import Access
    from broker.effects.database import Database


__all__ = ["pg_template"]


@pytest_asyncio.fixture
async def house(pg_broker_dsn: str, pg_dsn: str) -> AsyncIterator[House]:
    async with open_house(pg_broker_dsn, owner_dsn=pg_dsn) as opened:
        yield opened


async def messages(house: House) -> list[tuple[str, int, bool, float]]:
    """Return (kind, tries, done, seconds until the next try) of every message."""
    async with house.admin() as owner:
        found = await owner.fetch(
            "SELECT kind, tries, done_at IS NOT NULL AS done,"
            " extract(epoch FROM next_at - now())::float8 AS wait_s"
            " FROM outbox ORDER BY outbox_id"
        )
    return [(r["kind"], r["tries"], r["done"], r["wait_s"]) for r in found]


async def due(house: House, *, tries: int | None = None) -> None:
    """Let every message be due."""
    async with house.admin() as owner:
        await owner.execute(
            "UPDATE outbox SET next_at = now(), tries = coalesce($1, tries)", tries
        )


async def test_a_start_is_sent_and_kept_until_the_run_has_asked(house: House) -> None:
    record = await large_refund(house)
    keeper = FakeKeeper()
    outbox = Outbox(house.database, keeper=keeper)
    assert await outbox.send_due() == 1
    assert keeper.said == [("start", record.approval_id)]
    [(kind, tries, done, wait_s)] = await messages(house)
    assert (kind, tries, done) == ("start", 1, False)
    assert 0 < wait_s <= 2
    assert await outbox.send_due() == 0
    await ending.standing(house.ports, record.approval_id)
    await due(house)
    assert await outbox.send_due() == 1
    assert keeper.said == [("start", record.approval_id)]
    assert [done for _, _, done, _ in await messages(house)] == [True]


async def test_a_message_to_a_temporal_that_is_away_waits_longer_and_longer(
    house: House,
) -> None:
    record = await large_refund(house)
    await approve(house, "alice", record.approval_id)
    keeper = FakeKeeper(down=True)
    outbox = Outbox(house.database, keeper=keeper)
    waits = []
    for _ in range(6):
        await due(house)
        await outbox.send_due()
        waits.append(max(wait for *_, wait in await messages(house)))
    assert [round(wait) for wait in waits] == [2, 4, 8, 15, 15, 15]
    assert round(waits[-1]) == RETRY_S_MAX
    keeper.down = False
    await due(house)
    await outbox.send_due()
    assert {what for what, _ in keeper.said} >= {"tell"}


async def test_an_unasked_start_is_repeated_at_most_every_minute(house: House) -> None:
    await large_refund(house)
    keeper = FakeKeeper()
    outbox = Outbox(house.database, keeper=keeper)
    await due(house, tries=30)
    await outbox.send_due()
    [(_, _, _, wait_s)] = await messages(house)
    assert ACKNOWLEDGE_S_MAX - 1 < wait_s <= ACKNOWLEDGE_S_MAX


async def test_only_a_run_that_was_started_often_in_vain_counts_as_stuck(
    house: House,
) -> None:
    await large_refund(house)
    keeper = FakeKeeper()
    outbox = Outbox(house.database, keeper=keeper)
    for _ in range(STUCK_TRIES + 1):
        await due(house)
        await outbox.send_due()
    assert keeper.stuck == [False] * (STUCK_TRIES - 1) + [True]


async def test_a_replica_that_dies_with_a_message_gives_it_back(house: House) -> None:
    record = await large_refund(house)

    class Dies(FakeKeeper):
        async def start(self, approval_id: str) -> None:
            raise asyncio.CancelledError

    dying = Outbox(house.database, keeper=Dies())
    await asyncio.gather(dying.send_due(), return_exceptions=True)
    [(_, tries, done, wait_s)] = await messages(house)
    assert (tries, done) == (1, False)
    assert 0 < wait_s <= LEASE_S
    keeper = FakeKeeper()
    survivor = Outbox(house.database, keeper=keeper)
    assert await survivor.send_due() == 0
    await due(house)
    assert await survivor.send_due() == 1
    assert ("start", record.approval_id) in keeper.said


async def test_two_replicas_do_not_send_the_same_message_at_once(house: House) -> None:
    for number in range(6):
        await large_refund(house, LARGE + number)
    keeper = FakeKeeper()
    boxes = [Outbox(house.database, keeper=keeper) for _ in range(4)]
    counts = await asyncio.gather(*(box.send_due() for box in boxes))
    assert sum(counts) == 6
    assert len(keeper.said) == len(set(keeper.said)) == 6


async def test_a_message_that_another_replica_is_taking_is_left_to_it(
    house: House,
) -> None:
    await large_refund(house)
    keeper = FakeKeeper()
    outbox = Outbox(house.database, keeper=keeper)
    async with house.admin() as other, other.transaction():
        await other.execute("SELECT FROM outbox FOR UPDATE")
        async with asyncio.timeout(2):
            assert await outbox.send_due() == 0
    assert keeper.said == []
    assert await outbox.send_due() == 1


async def test_a_batch_and_its_calls_at_once_are_bounded(house: House) -> None:
    for number in range(BATCH_MAX + 1):
        await large_refund(house, 6_000 + number)
    keeper = FakeKeeper()
    outbox = Outbox(house.database, keeper=keeper)
    assert await outbox.send_due() == BATCH_MAX
    assert await outbox.send_due() == 1
    assert 1 < keeper.most_at_once <= SENDING_MAX


async def test_a_message_that_ours_refuses_is_done_and_a_squatters_is_not(
    house: House,
) -> None:
    record = await large_refund(house)
    await approve(house, "alice", record.approval_id)
    keeper = FakeKeeper(squatted={record.approval_id})
    outbox = Outbox(house.database, keeper=keeper)
    await outbox.send_due()
    done = {kind: done for kind, _, done, _ in await messages(house)}
    assert done["vote"] is False
    assert keeper.squatted == set()
    keeper.refuses = True
    await due(house)
    await outbox.send_due()
    done = {kind: done for kind, _, done, _ in await messages(house)}
    assert done["vote"] is True


async def test_what_has_ended_needs_no_start(house: House) -> None:
    record = await large_refund(house)
    await ending.withdraw(house.ports, record)
    keeper = FakeKeeper()
    await Outbox(house.database, keeper=keeper).send_due()
    assert [what for what, _ in keeper.said] == ["tell"]


@dataclass
class Flaky:
    """A database that can be away."""

    real: Database
    away: bool = True

    async def rows(self, sql: str, *args: Any) -> Any:
        if self.away:
            msg = "the database does not answer"
            raise UnavailableError(msg)
        return await self.real.rows(sql, *args)

    async def value(self, sql: str, *args: Any) -> Any:
        return await self.real.value(sql, *args)


async def test_the_outbox_outlives_a_database_that_is_away(house: House) -> None:
    record = await large_refund(house)
    keeper, database = FakeKeeper(), Flaky(house.database)
    outbox = Outbox(database, keeper=keeper)  # type: ignore[arg-type]
    await outbox.start()
    await asyncio.sleep(0.2)
    database.away = False
    outbox.nudge()

    async def sent() -> bool:
        return ("start", record.approval_id) in keeper.said

    await until(sent)
    await outbox.close()


async def test_with_temporal_down_asking_and_voting_work_and_settlement_waits(
    house: House, servers: Access, temporal_task_queue: str, tmp_path: Path
) -> None:
    gone = place(servers, temporal_task_queue, proxy=str(tmp_path / "gone.sock"))
    outbox = Outbox(house.database, keeper=Timekeeper(gone, keys=KEYS))
    await outbox.start()
    record = await large_refund(house)
    await approve(house, "alice", record.approval_id)
    async with asyncio.timeout(CALL_S_MAX):
        await outbox.close()
    assert await state_of(house, record) is ActionState.READY
    assert house.executor.amounts() == []
    async with open_stage(house, servers, temporal_task_queue) as stage:
        await stage.overdue()
        async with stage.everything():
            assert await stage.result(record.approval_id) == "done"
    assert house.executor.amounts() == [LARGE]


async def test_a_timekeeper_that_began_without_temporal_finds_it_later(
    house: House, servers: Access, temporal_task_queue: str, tmp_path: Path
) -> None:
    record = await large_refund(house)
    later = tmp_path / "proxy.sock"
    here = place(servers, temporal_task_queue, proxy=str(later))
    keeper = Timekeeper(here, keys=KEYS)
    for _ in range(2):
        with pytest.raises(UnavailableError):
            await keeper.start(record.approval_id)
    later.symlink_to(servers.temporal_proxy)
    await keeper.start(record.approval_id)


async def test_a_wrong_password_for_temporal_is_an_outage_and_no_crash(
    house: House, servers: Access, temporal_task_queue: str
) -> None:
    record = await large_refund(house)
    here = place(servers, temporal_task_queue, password="wrong")
    keeper = Timekeeper(here, keys=KEYS)
    with pytest.raises(UnavailableError) as caught:
        await keeper.start(record.approval_id)
    assert "wrong" not in str(caught.value)
    assert "wrong" not in repr(here)
