"""Lend the command line a door that serves HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.identity.served import Desk, served_desk

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    """Return a state folder with everybody's keys, and a broker that answers."""
    with served_desk(tmp_path) as made:
        yield made
