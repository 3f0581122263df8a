"""Open a house for each test of notices."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest_asyncio

from tests.support.flow.house import House, open_house
from tests.support.flow.template import pg_template

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


__all__ = ["pg_template"]


@pytest_asyncio.fixture
async def house(pg_broker_dsn: str, pg_dsn: str) -> AsyncIterator[House]:
    """Return a flow on a database of its own."""
    async with open_house(pg_broker_dsn, owner_dsn=pg_dsn) as opened:
        yield opened
