"""Alembic's entry: run the revisions in one transaction over asyncpg."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from alembic import context
from sqlalchemy import pool
from sqlalchemy.ext.asyncio import create_async_engine

if TYPE_CHECKING:
    from sqlalchemy import Connection


def _run(connection: Connection) -> None:
    context.configure(connection=connection, transaction_per_migration=False)
    with context.begin_transaction():
        # Two replicas may be started at once: the second waits, then finds nothing.
        connection.exec_driver_sql("SELECT pg_advisory_xact_lock(7310)")
        context.run_migrations()


async def _main() -> None:
    engine = create_async_engine(
        context.config.attributes["url"], poolclass=pool.NullPool
    )
    async with engine.connect() as connection:
        await connection.run_sync(_run)
        await connection.commit()
    await engine.dispose()


asyncio.run(_main())
