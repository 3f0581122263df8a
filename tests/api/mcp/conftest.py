"""The tool API before a real flow, with a fake executor."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest_asyncio

from tests.support.flow.house import open_house
from tests.support.mcp.house import McpHouse, open_api

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@pytest_asyncio.fixture
async def api(pg_broker_dsn: str, pg_dsn: str) -> AsyncIterator[McpHouse]:
    """Return the tool API on a database of its own."""
    async with (
        open_house(pg_broker_dsn, owner_dsn=pg_dsn) as house,
        open_api(house) as opened,
    ):
        yield opened
