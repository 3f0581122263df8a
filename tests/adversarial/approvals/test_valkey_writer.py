"""Who may write to Valkey can make calls wait or pass, and moves no money by that."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest_asyncio
from redis.exceptions import RedisError

from broker import flow
from broker.cli.bootstrap import STANDING_PER_ACTION, STANDING_TOTAL
from broker.core.words.errors import BrokerError
from broker.effects.limits.rates import (
    ProcessCounter,
    SqlCounter,
    ValkeyRates,
    valkey_client,
)
from tests.support.flow.house import House, open_house
from tests.support.flow.template import pg_template
from tests.support.flow.unknowns import agree
from tests.support.limits.lines import patient_counter
from tests.support.limits.own_valkey import own_valkey

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

__all__ = ["pg_template"]

ASKED = 24


@pytest_asyncio.fixture
async def house(
    pg_broker_dsn: str, pg_dsn: str, tmp_path: Path
) -> AsyncIterator[tuple[House, str, str]]:
    """Return a house that counts in a Valkey of its own, and how to write there."""
    with own_valkey(tmp_path) as server:
        async with open_house(pg_broker_dsn, owner_dsn=pg_dsn) as opened:
            rates = ValkeyRates(
                patient_counter(server.url, password=server.password),
                sql=SqlCounter(opened.database),
                process=ProcessCounter(),
            )
            await rates.start()
            opened.ports = replace(opened.ports, rates=rates)
            yield opened, server.url, server.password
            await rates.aclose()


async def mischief(url: str, password: str, over: asyncio.Event) -> int:
    """Empty it, and put values of every wrong form where counters are."""
    client, rounds = valkey_client(url, password=password), 0
    while not over.is_set():
        with suppress(RedisError):
            for key in await client.keys("*"):
                await client.delete(key)
                match rounds % 4:
                    case 0:
                        await client.rpush(key, "a list")
                    case 1:
                        await client.set(key, "not a number")
                    case 2:
                        await client.set(key, "-9223372036854775808")
                    case _:
                        await client.flushall()
            rounds += 1
        await asyncio.sleep(0.005)
    await client.aclose()
    return rounds


async def test_a_hostile_writer_in_valkey_moves_nothing_beyond_what_sql_holds(
    house: tuple[House, str, str],
) -> None:
    opened, url, password = house
    interaction = await opened.interaction()
    await opened.read_order(interaction)
    over = asyncio.Event()
    writing = asyncio.create_task(mischief(url, password, over))

    async def ask(number: int) -> None:
        wish = opened.refund(interaction, STANDING_PER_ACTION, key=f"k-{number}")
        # What it is made to refuse is refused with an error of ours, never a crash.
        with suppress(BrokerError):
            await flow.submit(opened.ports, wish)

    for first in range(0, ASKED, 6):
        await asyncio.gather(*(ask(first + n) for n in range(6)))
    over.set()
    assert await writing > 0
    assert sum(opened.executor.amounts()) <= STANDING_TOTAL
    assert await opened.posted() == sum(opened.executor.amounts())
    await agree(opened)
