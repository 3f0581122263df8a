"""Alembic's entry: run the revisions in one transaction over asyncpg.

Before the first release the SQL files are changed in place, so a revision alone does
not say which tables it made. Their digest is kept beside it, and other tables are
refused: working on them would fail somewhere else, in words that help nobody.
"""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Final

from alembic import context, util
from alembic.script import ScriptDirectory
from sqlalchemy import pool
from sqlalchemy.ext.asyncio import create_async_engine

if TYPE_CHECKING:
    from sqlalchemy import Connection


SQL: Final = Path(__file__).resolve().parent / "sql"
OTHER_TABLES: Final = (
    "this state was made by other tables than those of this version: "
    "`counterfoil reset` makes a new one, or use the version that made it"
)
_SAYS = "SELECT to_regclass('tables_made_by') IS NOT NULL"
_MADE_BY = "SELECT sha256 FROM tables_made_by"
_TABLE = """
CREATE TABLE IF NOT EXISTS tables_made_by (
  only_one boolean PRIMARY KEY DEFAULT true CHECK (only_one),
  sha256   text    NOT NULL CHECK (length(sha256) = 64)
)
"""
_NOTE = """
INSERT INTO tables_made_by (sha256) VALUES ($1)
    ON CONFLICT (only_one) DO UPDATE SET sha256 = EXCLUDED.sha256
"""


def digest_of(folder: Path) -> str:
    """Return a digest of the files that make the tables: names and contents."""
    whole = hashlib.sha256()
    for path in sorted(folder.glob("*.sql")):
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        whole.update(f"{path.name} {content}\n".encode())
    return whole.hexdigest()


def _require_same(connection: Connection, digest: str) -> None:
    """Return unless the tables are of the newest revision and made by other files."""
    at = context.get_context().get_current_revision()
    head = ScriptDirectory.from_config(context.config).get_current_head()
    if at is None or at != head:
        return
    said = connection.exec_driver_sql(_SAYS).scalar()
    made_by = connection.exec_driver_sql(_MADE_BY).scalar() if said else ""
    if made_by != digest:
        raise util.CommandError(OTHER_TABLES)


def _run(connection: Connection) -> None:
    context.configure(connection=connection, transaction_per_migration=False)
    with context.begin_transaction():
        # Two replicas may be started at once: the second waits, then finds nothing.
        connection.exec_driver_sql("SELECT pg_advisory_xact_lock(7310)")
        digest = digest_of(SQL)
        _require_same(connection, digest)
        context.run_migrations()
        connection.exec_driver_sql(_TABLE)
        connection.exec_driver_sql(_NOTE, (digest,))


async def _main() -> None:
    engine = create_async_engine(
        context.config.attributes["url"], poolclass=pool.NullPool
    )
    async with engine.connect() as connection:
        await connection.run_sync(_run)
        await connection.commit()
    await engine.dispose()


asyncio.run(_main())
