"""Tables that another version made are refused in one line."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import asyncpg
import pytest

from broker.cli.migrate import migrate, upgrade

if TYPE_CHECKING:
    from tests.support.servers import Database

OTHER = "made by other tables than those of this version: `counterfoil reset` makes"


def did(dsn: str, sql: str) -> None:
    async def work() -> None:
        connection = await asyncpg.connect(dsn)
        try:
            await connection.execute(sql)
        finally:
            await connection.close()

    asyncio.run(work())


def test_tables_of_this_version_are_brought_up_again_without_a_word(
    pg_database: Database,
) -> None:
    upgrade(pg_database.dsn())


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE tables_made_by SET sha256 = repeat('0', 64)",
        # As a version left them that did not say what made its tables.
        "DROP TABLE tables_made_by",
    ],
)
def test_tables_that_other_files_made_are_refused_in_one_line_that_says_what_to_do(
    pg_database: Database, change: str
) -> None:
    dsn = pg_database.dsn()
    did(dsn, change)
    with pytest.raises(SystemExit) as refused:
        migrate({"COUNTERFOIL_DATABASE_URL": dsn})
    said = str(refused.value)
    assert OTHER in said
    assert "\n" not in said


def test_tables_of_an_earlier_revision_go_on_whatever_made_them(
    pg_database: Database,
) -> None:
    dsn = pg_database.dsn()
    did(dsn, "UPDATE alembic_version SET version_num = '0000'")
    with pytest.raises(Exception, match="0000"):
        # There is no such revision: it got past the digest, as a later one would.
        upgrade(dsn)
