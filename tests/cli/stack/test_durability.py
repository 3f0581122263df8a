"""What the servers were told survives kill -9 of each of them, and of all."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest
import redis
from redis.backoff import ConstantBackoff
from redis.retry import Retry
from temporalio.client import Schedule, ScheduleActionStartWorkflow, ScheduleSpec

from broker.cli.stack.embedded import (
    FIRST_LEASE_S_MAX,
    JOIN_TRIES_MAX,
    EmbeddedServers,
    ServersNotStartedError,
)
from broker.cli.stack.servers.accounts import ADMIN, DATABASE, OWNER
from broker.cli.stack.servers.roles import Admin, require_password
from broker.cli.stack.state import open_state, running_pid
from tests.support.parts import alive, until
from tests.support.servers import connect_temporal


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "servers"
    yield folder
    # Whoever held the servers writes until it has stopped them.
    assert until(lambda: running_pid(folder) is None, within_s=FIRST_LEASE_S_MAX)


def on_postgres(access, statement, *, role=OWNER, database=DATABASE):
    async def ask():
        connection = await connected()
        try:
            return await connection.fetchval(statement)
        finally:
            await connection.close()

    async def connected() -> asyncpg.Connection:
        async with asyncio.timeout(15):
            while True:
                try:
                    return await asyncpg.connect(
                        access.dsn(role=role, database=database)
                    )
                except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
                    await asyncio.sleep(0.1)

    return asyncio.run(ask())


def on_valkey(access) -> redis.Redis:
    patient = Retry(ConstantBackoff(0.1), 100)
    errors = [redis.exceptions.ConnectionError, redis.exceptions.BusyLoadingError]
    return redis.Redis.from_url(access.valkey_url, retry=patient, retry_on_error=errors)


async def schedules(access) -> list[str]:
    async with asyncio.timeout(15):
        while True:
            try:
                client = await connect_temporal(access)
                return [one.id async for one in await client.list_schedules()]
            except RuntimeError:
                await asyncio.sleep(0.1)


def test_what_was_written_survives_kill_9(folder) -> None:
    with EmbeddedServers.lease(folder, fast=False) as leased:
        access = leased.access
        on_postgres(access, "CREATE TABLE kept AS SELECT 42 AS value")
        with on_valkey(access) as client:
            client.set("kept", "42")
            client.function_load(
                "#!lua name=kept\nserver.register_function('kept', "
                "function() return 42 end)",
                replace=True,
            )
            asyncio.run(make_schedule(access))
            # While it syncs the disk, Valkey puts writing off for up to two seconds.
            assert until(lambda: b"register_function" in appended(folder))
            for pid in access.pids.values():
                os.kill(pid, signal.SIGKILL)
            assert on_postgres(access, "SELECT value FROM kept") == 42
            assert client.get("kept") == b"42"
            assert client.fcall("kept", 0) == 42
        assert "kept" in asyncio.run(schedules(access))


def appended(folder: Path) -> bytes:
    files = (folder / "valkey" / "appendonlydir").glob("*.aof")
    return b"".join(path.read_bytes() for path in files)


async def make_schedule(access) -> None:
    client = await connect_temporal(access)
    action = ScheduleActionStartWorkflow("none", id="none", task_queue="none")
    await client.create_schedule("kept", Schedule(action=action, spec=ScheduleSpec()))


def test_processes_share_one_set_of_servers_until_the_last_has_left_it(folder) -> None:
    first = EmbeddedServers.lease(folder)
    second = EmbeddedServers.lease(folder)
    assert first.access == second.access
    pids = list(first.access.pids.values())
    first.close()
    assert on_postgres(second.access, "SELECT 1") == 1
    # Now that the set is ours alone: a server that trusts is seen through.
    hba = folder / "postgres" / "data" / "pg_hba.conf"
    hba.write_text(f"local all {OWNER} trust\n" + hba.read_text())
    reload = "SELECT pg_reload_conf()"
    assert on_postgres(second.access, reload, role=ADMIN, database="postgres")
    host = second.access.database_host
    trusting = Admin(url=f"postgresql://{OWNER}@/counterfoil?host={host}", password="")

    def trusts() -> bool:
        try:
            asyncio.run(require_password(trusting))
        except ValueError:
            return True
        return False

    assert until(trusts)
    second.close()
    assert until(lambda: not any(map(alive, pids)), within_s=FIRST_LEASE_S_MAX)


def test_servers_that_cannot_start_say_why_and_are_not_tried_for_ever(folder) -> None:
    state = open_state(folder)
    (state.path / "postgres" / "data").mkdir()
    (state.path / "postgres" / "data" / "PG_VERSION").write_text("7")
    assert JOIN_TRIES_MAX > 1
    with pytest.raises(ServersNotStartedError, match="postgres"):
        EmbeddedServers.lease(folder)
