"""The front door on fakes, for the client to knock at."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest_asyncio

from tests.support.door import Door, open_door

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@pytest_asyncio.fixture
async def door() -> AsyncIterator[Door]:
    """Open the door with everybody registered and one interaction open."""
    async with open_door() as opened:
        yield opened
