"""Lend every test the real servers: one set per run, whatever the number of workers.

Name this module in ``pytest_plugins``. PostgreSQL is handed out as a database of one's
own, cloned from a template; Valkey as one emptied database per test process; Temporal
as a client, with a task queue of one's own.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import secrets
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import asyncpg
import pytest
import pytest_asyncio

from broker.cli.stack.embedded import Access, EmbeddedServers
from broker.cli.stack.state import CHECKOUT

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
    from pathlib import Path

    from temporalio.client import Client

ADMIN = "cf_admin"
OWNER = "counterfoil"
BROKER = "cf_broker"
EDGE = "cf_edge"
TEMPLATE = "counterfoil_template"

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Database:
    """A database that one test has to itself."""

    name: str
    access: Access

    def dsn(self, role: str = OWNER) -> str:
        """Return the URL for one role, its password included."""
        return self.access.dsn(role=role, database=self.name)


@pytest.fixture(scope="session")
def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder that all test processes of this run have in common."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base


@pytest.fixture(scope="session")
def servers(shared_folder: Path) -> Iterator[Access]:
    """Return how the run's PostgreSQL, Valkey and Temporal are reached."""
    with EmbeddedServers.lease(shared_folder / "servers") as leased:
        yield leased.access


@pytest.fixture(scope="session")
def migrate() -> Callable[[str], None] | None:
    """Return what brings the tables up in the database of a URL, as its owner.

    conftest.py overrides it.
    """
    return None


@pytest.fixture(scope="session")
def pg_template(
    servers: Access, migrate: Callable[[str], None] | None, shared_folder: Path
) -> str:
    """Return the database that the tests' own are cloned from, made once per run."""
    with template_once(servers, TEMPLATE, shared_folder) as unfinished:
        if unfinished and migrate is not None:
            migrate(unfinished.dsn())
    return TEMPLATE


@contextlib.contextmanager
def template_once(
    access: Access, name: str, shared_folder: Path, *, source: str = "template1"
) -> Iterator[Database | None]:
    """Give what is to become a template to be filled; None once a run has it.

    Whoever fills it has closed every connection to it when the block ends.
    """
    with _one_at_a_time(shared_folder / f"{name}.lock"):
        if _run(_exists(access, name)):
            yield None
            return
        new = f"{name}_new"
        _run(_admin(access, f"DROP DATABASE IF EXISTS {new} WITH (FORCE)"))
        _run(_admin(access, f"CREATE DATABASE {new} TEMPLATE {source} OWNER {OWNER}"))
        yield Database(name=new, access=access)
        _run(_admin(access, f"ALTER DATABASE {new} RENAME TO {name}"))


@pytest.fixture
def pg_database(servers: Access, pg_template: str) -> Iterator[Database]:
    """Return a fresh database with all tables."""
    with database_of_its_own(servers, pg_template) as database:
        yield database


@contextlib.contextmanager
def database_of_its_own(servers: Access, template: str) -> Iterator[Database]:
    """Give a fresh clone of a template, and drop it afterwards."""
    name = f"test_{secrets.token_hex(8)}"
    # Copying files took 18 ms, through the write-ahead log 40 ms.
    _run(
        _admin(
            servers,
            f"CREATE DATABASE {name} TEMPLATE {template} OWNER {OWNER} "
            "STRATEGY FILE_COPY",
        )
    )
    yield Database(name=name, access=servers)
    _run(_admin(servers, f"DROP DATABASE {name} WITH (FORCE)"))


@pytest.fixture
def pg_dsn(pg_database: Database) -> str:
    """Return the fresh database's URL, as its owner."""
    return pg_database.dsn()


@pytest.fixture
def pg_broker_dsn(pg_database: Database) -> str:
    """Return the fresh database's URL, as the broker's role."""
    return pg_database.dsn(BROKER)


@pytest.fixture
def pg_edge_dsn(pg_database: Database) -> str:
    """Return the fresh database's URL, as the edge's role."""
    return pg_database.dsn(EDGE)


@pytest.fixture
def valkey_url(servers: Access) -> str:
    """Return the URL of an empty Valkey database, with its password.

    Each test process has one of the 64; Functions are common to all.
    """
    import redis  # noqa: PLC0415 every run loads this module, few tests need this

    worker = os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")
    url = servers.valkey_url.removesuffix("db=0") + f"db={int(worker) + 1}"
    with redis.Redis.from_url(url) as client:
        client.flushdb()
    return url


@pytest.fixture
def temporal_task_queue() -> str:
    """Return the name of a task queue that no other test has."""
    return f"test-{secrets.token_hex(8)}"


@pytest_asyncio.fixture
async def temporal_client(servers: Access) -> AsyncIterator[Client]:
    """Return a connected client of Temporal."""
    yield await connect_temporal(servers)


def this_host_elsewhere() -> dict[str, object]:
    """Return what the stack finds out about this host, in a process of its own.

    It forks, which a process with threads should not.
    """
    code = (
        "import dataclasses, json; from broker.cli.stack.machine.host import this_host;"
        "print(json.dumps(dataclasses.asdict(this_host())))"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", code],
        env={"PYTHONPATH": str(CHECKOUT)},
        check=True,
        capture_output=True,
    )
    found: dict[str, object] = json.loads(done.stdout)
    return found


async def connect_temporal(access: Access) -> Client:
    """Connect to the run's Temporal through its proxy."""
    # Every run loads this module, few tests need a second's worth of imports.
    from temporalio.client import Client  # noqa: PLC0415
    from temporalio.service import HttpConnectProxyConfig  # noqa: PLC0415

    return await Client.connect(
        access.temporal_address,
        namespace=access.temporal_namespace,
        http_connect_proxy_config=HttpConnectProxyConfig(
            target_host=f"unix:{access.temporal_proxy}",
            basic_auth=(access.temporal_user, access.temporal_password),
        ),
    )


async def _admin(access: Access, statement: str) -> None:
    connection = await asyncpg.connect(access.dsn(role=ADMIN, database="postgres"))
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


async def _exists(access: Access, database: str) -> bool:
    connection = await asyncpg.connect(access.dsn(role=ADMIN, database="postgres"))
    try:
        return bool(
            await connection.fetchval(
                "SELECT true FROM pg_database WHERE datname = $1", database
            )
        )
    finally:
        await connection.close()


def _run(work: Coroutine[object, object, T]) -> T:
    """Run a coroutine beside whatever loop the test has."""
    with ThreadPoolExecutor(1) as executor:
        return executor.submit(asyncio.run, work).result()


@contextlib.contextmanager
def _one_at_a_time(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
