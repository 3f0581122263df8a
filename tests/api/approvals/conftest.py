"""The rooms that supervisors knock at, over a house's real flow."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest_asyncio

from tests.support.approvals.office import Office, open_office
from tests.support.flow.house import House, open_house

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@pytest_asyncio.fixture
async def house(pg_broker_dsn: str, pg_dsn: str) -> AsyncIterator[House]:
    async with open_house(pg_broker_dsn, owner_dsn=pg_dsn) as opened:
        yield opened


@pytest_asyncio.fixture
async def office(house: House) -> AsyncIterator[Office]:
    async with open_office(house) as opened:
        yield opened
