"""Give these tests an edge in this process."""

import shutil
import signal
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.edge.lab import Lab, running_lab
from tests.edge.process import EdgeProcess, make_edge
from tests.support.crm import Crm, crm, crm_process

__all__ = ["crm", "crm_process"]


@pytest_asyncio.fixture
async def lab() -> AsyncIterator[Lab]:
    async with running_lab() as running:
        yield running


@pytest.fixture
def own_folder() -> Iterator[Path]:
    """Return a folder whose name is short enough for a socket."""
    folder = Path(tempfile.mkdtemp(prefix="edge-"))
    yield folder
    shutil.rmtree(folder)


@pytest_asyncio.fixture
async def edge(
    own_folder: Path, pg_edge_dsn: str, crm: Crm
) -> AsyncIterator[EdgeProcess]:
    """An edge process that runs, with the credential of a running democrm."""
    made = make_edge(
        own_folder, database=pg_edge_dsn, crm_url=crm.url, credential=crm.credential
    )
    try:
        await made.start()
        yield made
    finally:
        if made.process is not None:
            made.stop(signal.SIGKILL)
