"""A house, and its world to make histories in."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from broker.cli.history.load import world_of
from broker.core.jwk import Algorithm
from broker.effects.database import Database
from broker.effects.keyfiles import save_key
from broker.effects.keys import KeyRing, generate_keys
from broker.registry.authority import Realm
from tests.support.flow.house import ENVIRONMENT, TENANT, House, open_house
from tests.support.flow.template import pg_template
from tests.support.identities import key_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from broker.cli.history.play import World


__all__ = ["pg_template"]


@pytest_asyncio.fixture
async def house(pg_broker_dsn: str, pg_dsn: str) -> AsyncIterator[House]:
    """Return a flow on a database of its own."""
    async with open_house(pg_broker_dsn, owner_dsn=pg_dsn) as opened:
        yield opened


@pytest.fixture
def keys(tmp_path: Path) -> KeyRing:
    """Return the keys that the house works with, among others."""
    made = generate_keys(tmp_path)
    save_key(tmp_path / "broker" / "entry.jwk", key_of("entry", Algorithm.EDDSA))
    return replace(
        made,
        authority=key_of("authority", Algorithm.EDDSA),
        payload_kek=b"k" * 32,
    )


@pytest_asyncio.fixture
async def owner(house: House) -> AsyncIterator[Database]:
    """Return the owner's way into the house's database."""
    database = Database(house.owner_dsn, password="")
    yield database
    await database.close()


@pytest_asyncio.fixture
async def world(house: House, owner: Database, keys: KeyRing) -> World:
    """Return what the house's histories are made in."""
    realm = Realm(TENANT, ENVIRONMENT, {keys.authority.kid: keys.authority.public()})
    shelf = house.ports.shelf
    return await world_of(owner, keys, shelf=shelf, realm=realm)  # type: ignore[arg-type]
