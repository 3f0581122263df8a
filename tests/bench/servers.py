"""Lend PostgreSQL and Valkey to the rows that need nothing else."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import asyncpg

from broker.cli.migrate import upgrade
from broker.cli.stack.embedded import Access, EmbeddedServers
from broker.cli.stack.state import delete, running_pid

DATABASE = "bench"
ADMIN, OWNER, BROKER, EDGE = "cf_admin", "counterfoil", "cf_broker", "cf_edge"
STOPPED_S_MAX = 30.0


@contextmanager
def lent() -> Iterator[dict[str, str]]:
    """Start servers that write to disk as a real stack does, with a migrated database.

    Yields:
        ``owner_dsn``, ``broker_dsn``, ``edge_dsn`` and ``valkey_url``.
    """
    with lent_with_access() as (found, _):
        yield found


@contextmanager
def lent_with_access() -> Iterator[tuple[dict[str, str], Access]]:
    """Start the same servers, and say as well where Temporal is."""
    with tempfile.TemporaryDirectory(prefix="counterfoil-bench-") as folder:
        state = Path(folder) / "servers"
        try:
            with EmbeddedServers.lease(state, fast=False) as servers:
                access = servers.access
                asyncio.run(_create(access))
                owner_dsn = access.dsn(role=OWNER, database=DATABASE)
                upgrade(owner_dsn)
                found = {
                    "owner_dsn": owner_dsn,
                    "broker_dsn": access.dsn(role=BROKER, database=DATABASE),
                    "edge_dsn": access.dsn(role=EDGE, database=DATABASE),
                    "valkey_url": access.valkey_url,
                }
                yield found, access
        finally:
            _remove(state)


async def _create(access: Access) -> None:
    connection = await asyncpg.connect(access.dsn(role=ADMIN, database="postgres"))
    try:
        await connection.execute(f"CREATE DATABASE {DATABASE} OWNER {OWNER}")
    finally:
        await connection.close()


def _remove(state: Path) -> None:
    """Wait until the servers have stopped, which nobody else does; delete them."""
    until = time.monotonic() + STOPPED_S_MAX
    while running_pid(state) is not None and time.monotonic() < until:
        time.sleep(0.1)
    delete(state)
