"""The database: one that is away says so within seconds, and comes back by itself."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qs, quote, urlsplit

import asyncpg
import httpx
import pytest
import pytest_asyncio
from fastapi import FastAPI

from broker.api import problems
from broker.core.words.errors import InvalidError, StoreUnavailableError
from broker.effects.database import (
    ANSWER_S_MAX,
    CONNECT_S_MAX,
    LATER,
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


async def test_a_mistake_in_a_statement_is_ours_and_not_an_outage(database) -> None:
    with pytest.raises(asyncpg.UndefinedTableError):
        await database.value("SELECT * FROM nothing_here")


async def test_a_row_that_is_refused_is_no_outage(database) -> None:
    with pytest.raises(asyncpg.UniqueViolationError):
        await database.value(raising("23505"))
    with pytest.raises(asyncpg.ObjectNotInPrerequisiteStateError):
        await database.value(raising("55000"))


async def test_a_text_that_no_database_keeps_is_the_callers_mistake(database) -> None:
    for sql, text in (("SELECT $1::text", "a\0b"), ("SELECT $1::jsonb", {"a": "\0"})):
        with pytest.raises(InvalidError, match="cannot be stored") as caught:
            await database.value(sql, text)
        assert caught.value.__cause__ is None


PASSING = {
    "08006": "the connection failed",
    "25006": "it is a standby now",
    "40001": "the transaction could not be serialised",
    "40P01": "a deadlock",
    "53100": "its disk is full",
    "53300": "too many connections",
    "55P03": "a lock was not had in time",
    "57014": "an administrator cancelled it",
    "57P01": "it is shut down",
    "58030": "its disk fails",
    "XX000": "it found a mistake of its own",
}


def raising(state: str) -> str:
    return f"DO $$ BEGIN RAISE EXCEPTION 'no' USING ERRCODE = '{state}'; END $$"


def test_every_class_that_may_pass_later_is_tried() -> None:
    assert {state[:2] for state in PASSING} == LATER


async def test_what_passes_later_is_answered_with_a_time_to_try_again(
    database,
) -> None:
    app = FastAPI()
    problems.install(app)

    @app.get("/{state}")
    async def _(state: str) -> None:
        await database.value(raising(state))

    door = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=door, base_url="http://here") as client:
        for state in PASSING:
            answer = await client.get(f"/{state}")
            said = (answer.status_code, answer.json()["code"])
            assert said == (503, "store-unavailable"), state
            assert int(answer.headers["retry-after"]) >= 1
            # Whoever wrote may have written: it went away while it was asked.
            assert "nothing was done" not in answer.text
            assert await database.value("SELECT 1") == 1


async def pids(database: Database, count: int) -> set[int]:
    """Return the servers behind this many connections that are lent at once."""
    async with AsyncExitStack() as stack:
        lent = [
            await stack.enter_async_context(database.connection()) for _ in range(count)
        ]
        return {await one.fetchval("SELECT pg_backend_pid()") for one in lent}


async def test_a_server_that_became_a_standby_is_left_with_all_connections(
    database,
) -> None:
    before = await pids(database, 3)
    async with database.connection() as connection:
        await connection.execute("SET default_transaction_read_only = on")
    # The connection that was lent last is lent first.
    with pytest.raises(StoreUnavailableError, match="25006"):
        await database.value("CREATE TABLE pg_temp.written ()")
    assert not before & await pids(database, 3)


async def test_a_server_that_only_reads_is_not_connected_to(
    database, servers, pg_database
) -> None:
    admin = await asyncpg.connect(servers.dsn(role=ADMIN, database="postgres"))
    change = f'ALTER DATABASE "{pg_database.name}"'
    try:
        await admin.execute(f"{change} SET default_transaction_read_only = on")
        # A standby may not have heard of a revocation: it is not even read from.
        with pytest.raises(StoreUnavailableError):
            await database.value("SELECT 1")
        await admin.execute(f"{change} RESET default_transaction_read_only")
    finally:
        await admin.close()
    assert await database.value("SELECT 1") == 1


async def test_one_refused_statement_ends_nobody_elses_connection(database) -> None:
    before = await pids(database, 3)
    for state in ("40P01", "53100", "55P03", "57014"):
        with pytest.raises(StoreUnavailableError, match=state):
            await database.value(raising(state))
    assert await pids(database, 3) == before


async def test_a_statement_that_takes_too_long_is_given_up_and_ends_no_connection(
    database,
) -> None:
    before = await pids(database, 3)
    begun = time.monotonic()
    with pytest.raises(StoreUnavailableError) as caught:
        await database.value("SELECT pg_sleep(60)")
    assert ANSWER_S_MAX <= time.monotonic() - begun < ANSWER_S_MAX + SLACK_S
    assert "may have been done" in caught.value.hint
    assert await pids(database, 3) == before


async def test_nobody_at_the_address_is_unavailable_with_a_time_to_try_again() -> None:
    database = Database("postgresql://x@127.0.0.1:1/x", password="p")
    begun = time.monotonic()
    with pytest.raises(StoreUnavailableError) as caught:
        await database.value("SELECT 1")
    assert time.monotonic() - begun < CONNECT_S_MAX + SLACK_S
    assert caught.value.retry_after_s
    assert "127.0.0.1" not in caught.value.detail
    assert "nothing was done" in caught.value.hint


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
