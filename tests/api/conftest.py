"""The front door on fakes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest_asyncio

from tests.support.door import Door, open_door
from tests.support.flow.template import pg_template

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


__all__ = ["pg_template"]


@pytest_asyncio.fixture
async def door() -> AsyncIterator[Door]:
    """Open the door with everybody registered and one interaction open."""
    async with open_door() as opened:
        yield opened
