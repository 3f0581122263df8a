"""The database: one that is away says so within seconds, and comes back by itself."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
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
SOCKET = ".s.PGSQL.5432"


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


@dataclass
class Way:
    """A way to the server that can be closed, at once or after the next answer."""

    folder: Path
    dsn: str
    flows: asyncio.Event = field(default_factory=asyncio.Event)
    last_answer: bool = False
    walks: set[asyncio.Task[None]] = field(default_factory=set)

    async def pump(self, source, sink, *, answers: bool) -> None:
        while data := await source.read(65_536):
            await self.flows.wait()
            sink.write(data)
            if answers and self.last_answer:
                self.flows.clear()

    async def forward(self, reader, writer) -> None:
        walk = asyncio.current_task()
        assert walk is not None
        self.walks.add(walk)
        there, back = await asyncio.open_unix_connection(f"{self.folder}/{SOCKET}")
        ways = (
            asyncio.create_task(self.pump(reader, back, answers=False)),
            asyncio.create_task(self.pump(there, writer, answers=True)),
        )
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            pass  # The test is over.
        finally:
            for one in ways:
                one.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            for end in (writer, back):
                end.transport.abort()


@pytest_asyncio.fixture
async def way(pg_broker_dsn, tmp_path):
    folder = parse_qs(urlsplit(pg_broker_dsn).query)["host"][0]
    dsn = pg_broker_dsn.replace(quote(folder, safe=""), quote(str(tmp_path), safe=""))
    way = Way(Path(folder), dsn.replace(folder, str(tmp_path)))
    way.flows.set()
    server = await asyncio.start_unix_server(way.forward, tmp_path / SOCKET)
    yield way
    server.close()
    for walk in way.walks:
        walk.cancel()
    await asyncio.gather(*way.walks, return_exceptions=True)
    await asyncio.sleep(0.05)


async def test_a_server_that_freezes_costs_a_call_its_answer_time_and_little_more(
    way,
) -> None:
    """Not even the request to cancel is answered then."""
    database = Database(way.dsn, password="")
    assert await database.value("SELECT 1") == 1
    way.flows.clear()
    begun = time.monotonic()
    with pytest.raises(StoreUnavailableError):
        await database.value("SELECT 1")
    took_s = time.monotonic() - begun
    assert ANSWER_S_MAX <= took_s < ANSWER_S_MAX + RELEASE_S_MAX + 0.5
    way.flows.set()
    assert await database.value("SELECT 1") == 1
    await database.close()


async def test_what_was_answered_is_not_called_undone_because_the_server_froze_then(
    way,
) -> None:
    database = Database(way.dsn, password="")
    # Prepared by now: the next time there is one answer and no more.
    assert await database.value("SELECT 1") == 1
    way.last_answer = True
    begun = time.monotonic()
    assert await database.value("SELECT 1") == 1
    assert not way.flows.is_set()
    assert time.monotonic() - begun < RELEASE_S_MAX + 1
    way.last_answer = False
    way.flows.set()
    assert await database.value("SELECT 3") == 3
    await database.close()


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
