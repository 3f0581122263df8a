"""Open a house with Temporal beside it for each test of workflows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest_asyncio

from tests.support.approvals.timekeeping import Stage, open_stage
from tests.support.flow.house import House, open_house
from tests.support.flow.template import pg_template

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from broker.cli.stack.embedded import Access


__all__ = ["pg_template"]


@pytest_asyncio.fixture
async def house(pg_broker_dsn: str, pg_dsn: str) -> AsyncIterator[House]:
    """Return a flow on a database of its own."""
    async with open_house(pg_broker_dsn, owner_dsn=pg_dsn) as opened:
        yield opened


@pytest_asyncio.fixture
async def stage(
    house: House, servers: Access, temporal_task_queue: str
) -> AsyncIterator[Stage]:
    """Return Temporal's part, with a task queue of its own."""
    async with open_stage(house, servers, temporal_task_queue) as opened:
        yield opened
