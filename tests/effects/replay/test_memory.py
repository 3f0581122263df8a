"""The real memory of single uses: servers that restart, hang, or are all gone."""

from __future__ import annotations

import asyncio
import os
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from broker.core.words.errors import StoreUnavailableError
from broker.core.words.identity import OneUse
from broker.effects.clock import SystemClock
from broker.effects.database import Database
from broker.effects.replay import CONNECTIONS_MAX, VALKEY_S_MAX, ReplayMemory, Valkey

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


def use(seconds: float = 70) -> OneUse:
    return OneUse(os.urandom(32), datetime.now(UTC) + timedelta(seconds=seconds))


@pytest_asyncio.fixture
async def database(pg_broker_dsn: str) -> AsyncIterator[Database]:
    database = Database(pg_broker_dsn, password="")
    yield database
    await database.close()


@pytest_asyncio.fixture
async def memory(database: Database, valkey_url: str) -> AsyncIterator[ReplayMemory]:
    memory = ReplayMemory(database, valkey=Valkey(valkey_url), clock=SystemClock())
    yield memory
    await memory.close()


async def test_a_server_that_was_restarted_is_not_believed_even_if_it_has_the_mark(
    memory, database
):
    rule = await memory.rule()
    assert await memory.first_proof(use(), epoch=rule.epoch)
    # The state names the run id that the epoch began with; after a restart from disk
    # the mark is there again, and the last second of what was remembered may not be.
    await database.value("UPDATE replay_epoch SET server = 'an earlier process'")
    await memory.refresh()
    assert await memory.first_proof(use(), epoch=rule.epoch) is None
    after = await memory.refresh()
    assert after.epoch == rule.epoch + 1
    assert after.demands(datetime.now(UTC))
    assert await memory.first_proof(use(), epoch=after.epoch)


async def test_nothing_is_decided_when_neither_memory_answers():
    database = Database("postgresql://nobody@/none?host=/nowhere", password="")
    valkey = Valkey("unix:///nowhere/valkey.sock")
    memory = ReplayMemory(database, valkey=valkey, clock=SystemClock())
    with pytest.raises(StoreUnavailableError):
        await memory.rule()
    with pytest.raises(StoreUnavailableError):
        await memory.first_ever(use())
    await memory.close()


async def test_a_server_that_hangs_counts_as_away_within_its_time(
    database, memory, tmp_path: Path
):
    await memory.rule()
    path = tmp_path / "hangs.sock"

    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_unix_server(hang, path)
    hanging = Valkey(f"unix://{path}")
    slow = ReplayMemory(database, valkey=hanging, clock=SystemClock())
    await slow.refresh()
    began = time.monotonic()
    rule = await slow.rule()
    assert await slow.first_proof(use(), epoch=rule.epoch) is None
    # Once for the call and once for its repetition on a fresh connection.
    assert time.monotonic() - began < 2 * VALKEY_S_MAX + 1
    assert (await slow.refresh()).required
    await slow.close()
    server.close()
    await asyncio.sleep(0.05)


async def test_more_uses_at_once_than_connections_are_all_decided(memory):
    rule = await memory.rule()
    answers = await asyncio.gather(
        *(
            memory.first_proof(use(), epoch=rule.epoch)
            for _ in range(CONNECTIONS_MAX + 1)
        )
    )
    assert answers == [True] * (CONNECTIONS_MAX + 1)


async def test_uses_whose_artefact_has_ended_are_deleted_and_no_others(
    memory, database
):
    ended, lasting = use(-5), use(60)
    assert await memory.first_ever(ended)
    assert await memory.first_ever(lasting)
    assert await database.value("SELECT seen_purge()") == 1
    assert not await memory.first_ever(lasting)


async def test_two_replicas_that_lose_it_together_move_the_epoch_once(
    database, memory, valkey_url
):
    other = ReplayMemory(database, valkey=Valkey(valkey_url), clock=SystemClock())
    rules = [await replica.rule() for replica in (memory, other)]
    for replica in (memory, other):
        await replica.close()
        replica._valkey = Valkey("unix:///nowhere/valkey.sock")  # noqa: SLF001
    answers = await asyncio.gather(
        memory.first_proof(use(), epoch=rules[0].epoch),
        other.first_proof(use(), epoch=rules[1].epoch),
    )
    assert list(answers) == [None, None]
    assert (await memory.refresh()).epoch == rules[0].epoch + 1
    await other.close()
