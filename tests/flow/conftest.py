"""Open a house for each test of the flow."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from tests.support.flow.house import House, open_house
from tests.support.flow.template import pg_template
from tests.support.servers import database_of_its_own

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from contextlib import AbstractContextManager

    from broker.cli.stack.embedded import Access
    from tests.support.servers import Database


__all__ = ["pg_template"]


@pytest_asyncio.fixture
async def house(pg_broker_dsn: str, pg_dsn: str) -> AsyncIterator[House]:
    """Return a flow on a database of its own."""
    async with open_house(pg_broker_dsn, owner_dsn=pg_dsn) as opened:
        yield opened


@pytest.fixture
def fresh_database(
    servers: Access, pg_template: str
) -> Callable[[], AbstractContextManager[Database]]:
    """Return what makes one more database, for tests that need many."""
    return lambda: database_of_its_own(servers, pg_template)
