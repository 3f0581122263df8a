"""Give these tests a running democrm, and its books without a process."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.democrm.books.source import Catalogue, load
from infra.democrm.books.store import Store
from tests.support.crm import crm, crm_process

__all__ = ["crm", "crm_process"]


@pytest.fixture(scope="session")
def catalogue() -> Catalogue:
    return load()


@pytest.fixture
def books(catalogue: Catalogue) -> Iterator[Store]:
    """Fresh books in memory."""
    store = Store.open(Path(":memory:"), catalogue=lambda: catalogue)
    yield store
    store.close()
