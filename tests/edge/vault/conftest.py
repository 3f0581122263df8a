"""Give these tests the rows of credentials, real and fake, and a vault on them."""

import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import asyncpg
import pytest
import pytest_asyncio

from broker.core.jws import verify
from broker.core.warrants.events import EdgeEvent, parse_event
from broker.core.words.warrant import EDGE_EVENT_TYP
from broker.edge.identity import KEK_BYTES, Identity, load_identity
from broker.edge.store import Store
from broker.edge.vault.events import Notary
from broker.edge.vault.keeper import Vault
from broker.edge.vault.rows import Rows
from broker.sealing import FileKek
from tests.edge.vault.fake_rows import FakeRows


@dataclass
class Safe:
    """A vault, and what somebody beside it can see and change."""

    vault: Vault
    identity: Identity
    owner: asyncpg.Connection | None
    store: Store | None = None

    @property
    def rows(self) -> Any:
        return self.vault.rows

    async def events(self) -> list[EdgeEvent]:
        """Return what the log would be told, verified, in order."""
        if self.owner is None:
            tokens = [event.token for event in self.rows.events]
        else:
            found = await self.owner.fetch("SELECT token FROM edge_event ORDER BY at")
            tokens = [row["token"] for row in found]
        key = self.identity.key.public()
        return [
            parse_event(verify(token, keys={key.kid: key}, typ=EDGE_EVENT_TYP))
            for token in tokens
        ]


def make_safe(folder: Path, rows: Any, owner: Any, environment: str = "dev") -> Safe:
    identity = load_identity(folder, now=datetime.now(UTC))
    notary = Notary(
        identity=identity,
        tenant="demo",
        environment=environment,
        by="user:test",
        now=lambda: datetime.now(UTC),
    )
    kek = FileKek(b"k" * KEK_BYTES, random=secrets.token_bytes)
    vault = Vault(rows=cast("Rows", rows), kek=kek, notary=notary)
    return Safe(vault, identity, owner)


@pytest.fixture(params=["fake", "real"])
def database(request) -> Any:
    """Return the real database, if it is its turn; made where no loop runs yet."""
    real = request.param == "real"
    return request.getfixturevalue("pg_database") if real else None


@pytest_asyncio.fixture
async def safe(database, tmp_path: Path) -> AsyncIterator[Safe]:
    if database is None:
        yield make_safe(tmp_path, FakeRows(), None)
        return
    store = Store(database.dsn("cf_edge"), password_file=None)
    await store.open()
    owner = await asyncpg.connect(database.dsn())
    rows = Rows(store, tenant="demo", environment="dev")
    made = make_safe(tmp_path, rows, owner)
    made.store = store
    yield made
    await owner.close()
    await store.close()
