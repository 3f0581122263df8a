"""Lend tests a database in which a house's people, agent and policy stand already.

A conftest or a module that opens houses imports ``pg_template`` from here: what it
then clones need not be filled again for each test.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from tests.support.flow.house import open_house
from tests.support.servers import BROKER, template_once

if TYPE_CHECKING:
    from pathlib import Path

    from broker.cli.stack.embedded import Access
    from tests.support.servers import Database

HOUSE = "house_template"


@pytest.fixture(scope="session")
def pg_template(servers: Access, pg_template: str, shared_folder: Path) -> str:
    """Return the name of a template with all of a house in it, made once per run."""
    making = template_once(servers, HOUSE, shared_folder, source=pg_template)
    with making as unfinished:
        if unfinished:
            asyncio.run(_furnish(unfinished))
    return HOUSE


async def _furnish(database: Database) -> None:
    async with open_house(database.dsn(BROKER), owner_dsn=database.dsn()):
        pass
