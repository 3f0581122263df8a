"""The database: one that is away says so within seconds, and comes back by itself."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack
from urllib.parse import parse_qs, quote, urlsplit

import asyncpg
import pytest
import pytest_asyncio

from broker.core.words.errors import StoreUnavailableError
from broker.effects.database import (
    ANSWER_S_MAX,
    CONNECT_S_MAX,
    POOL_MAX,
    RELEASE_S_MAX,
    Database,
)
from tests.support.servers import ADMIN

SLACK_S = 4.0


@pytest_asyncio.fixture
async def database(pg_broker_dsn):
    opened = Database(pg_broker_dsn, password="")
    yield opened
    await opened.close()


async def test_json_goes_in_and_out_as_values(database) -> None:
    value = {"a": [1, "é", None, True]}
    assert await database.value("SELECT $1::jsonb", value) == value
    row = await database.row("SELECT 1 AS a, $1::jsonb AS b", value)
    assert (row["a"], row["b"]) == (1, value)
    assert [r["n"] for r in await database.rows("SELECT generate_series(1,3) n")] == [
        1,
        2,
        3,
    ]
    assert await database.row("SELECT 1 WHERE false") is None


async def test_as_many_connections_as_the_limit_are_lent_and_not_one_more(
    database,
) -> None:
    async with AsyncExitStack() as stack:
        for _ in range(POOL_MAX):
            lent = await stack.enter_async_context(database.connection())
            assert await lent.fetchval("SELECT 1") == 1
        begun = time.monotonic()
        with pytest.raises(StoreUnavailableError):
            await database.value("SELECT 1")
        assert time.monotonic() - begun < CONNECT_S_MAX + SLACK_S
    assert await database.value("SELECT 1") == 1


async def test_a_statement_that_takes_too_long_is_given_up(database) -> None:
    begun = time.monotonic()
    with pytest.raises(StoreUnavailableError):
        await database.value("SELECT pg_sleep(60)")
    assert ANSWER_S_MAX <= time.monotonic() - begun < ANSWER_S_MAX + SLACK_S
    assert await database.value("SELECT 1") == 1


async def test_a_mistake_in_a_statement_is_ours_and_not_an_outage(database) -> None:
    with pytest.raises(asyncpg.UndefinedTableError):
        await database.value("SELECT * FROM nothing_here")


async def test_nobody_at_the_address_is_unavailable_with_a_time_to_try_again() -> None:
    database = Database("postgresql://x@127.0.0.1:1/x", password="p")
    begun = time.monotonic()
    with pytest.raises(StoreUnavailableError) as caught:
        await database.value("SELECT 1")
    assert time.monotonic() - begun < CONNECT_S_MAX + SLACK_S
    assert caught.value.retry_after_s
    assert "127.0.0.1" not in caught.value.detail


async def test_somebody_who_never_answers_is_unavailable_in_time() -> None:
    over = asyncio.Event()

    async def silent(reader, writer) -> None:
        await reader.read()
        writer.close()
        await writer.wait_closed()
        over.set()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    database = Database(f"postgresql://x@127.0.0.1:{port}/x", password="p")
    begun = time.monotonic()
    with pytest.raises(StoreUnavailableError):
        await database.value("SELECT 1")
    assert time.monotonic() - begun < CONNECT_S_MAX + SLACK_S
    await over.wait()
    server.close()


async def test_a_server_that_freezes_costs_a_call_its_answer_time_and_little_more(
    pg_broker_dsn, tmp_path
) -> None:
    """Not even the request to cancel is answered then."""
    folder = parse_qs(urlsplit(pg_broker_dsn).query)["host"][0]
    name = ".s.PGSQL.5432"
    flows = asyncio.Event()
    flows.set()

    async def pump(source, sink) -> None:
        while data := await source.read(65_536):
            await flows.wait()
            sink.write(data)
        sink.close()

    async def forward(reader, writer) -> None:
        there = await asyncio.open_unix_connection(f"{folder}/{name}")
        await asyncio.gather(pump(reader, there[1]), pump(there[0], writer))

    server = await asyncio.start_unix_server(forward, tmp_path / name)
    dsn = pg_broker_dsn.replace(quote(folder, safe=""), quote(str(tmp_path), safe=""))
    database = Database(dsn.replace(folder, str(tmp_path)), password="")
    assert await database.value("SELECT 1") == 1
    flows.clear()
    begun = time.monotonic()
    with pytest.raises(StoreUnavailableError):
        await database.value("SELECT 1")
    took_s = time.monotonic() - begun
    assert ANSWER_S_MAX <= took_s < ANSWER_S_MAX + RELEASE_S_MAX + 0.5
    flows.set()
    assert await database.value("SELECT 1") == 1
    await database.close()
    server.close()
    await asyncio.sleep(0.05)


async def test_what_was_away_at_the_start_is_used_once_it_is_there(
    pg_broker_dsn, tmp_path
) -> None:
    folder = parse_qs(urlsplit(pg_broker_dsn).query)["host"][0]
    there = tmp_path / "pg"
    dsn = pg_broker_dsn.replace(quote(folder, safe=""), quote(str(there), safe=""))
    dsn = dsn.replace(folder, str(there))
    database = Database(dsn, password="")
    with pytest.raises(StoreUnavailableError):
        await database.value("SELECT 1")
    there.symlink_to(folder)
    assert await database.value("SELECT 1") == 1
    await database.close()


async def test_after_every_connection_was_ended_the_next_calls_connect_anew(
    database, servers, pg_database
) -> None:
    async def call() -> int:
        return await database.value("SELECT 1 FROM pg_sleep(0.3)")

    calls = [asyncio.create_task(call()) for _ in range(POOL_MAX)]
    await asyncio.sleep(0.1)
    admin = await asyncpg.connect(servers.dsn(role=ADMIN, database="postgres"))
    try:
        ended = await admin.fetch(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1",
            pg_database.name,
        )
    finally:
        await admin.close()
    assert ended
    answers = await asyncio.gather(*calls, return_exceptions=True)
    assert all(a == 1 or isinstance(a, StoreUnavailableError) for a in answers)
    assert any(isinstance(a, StoreUnavailableError) for a in answers)
    assert await asyncio.gather(*(call() for _ in range(POOL_MAX))) == [1] * POOL_MAX
