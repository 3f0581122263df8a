"""Give these tests an edge in this process."""

from collections.abc import AsyncIterator

import pytest_asyncio

from tests.edge.lab import Lab, running_lab


@pytest_asyncio.fixture
async def lab() -> AsyncIterator[Lab]:
    async with running_lab() as running:
        yield running
