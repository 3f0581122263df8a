"""What edges did with credentials reaches the log: once, verified, and nothing else."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import asyncpg
import pytest

from broker.core.jwk import SEED_BYTES
from broker.core.jws import (
    Algorithm,
    PrivateKey,
    private_from_seed,
    sign,
)
from broker.core.transparency.entry_leaf import open_entry
from broker.core.warrants.events import EdgeEvent, EdgeEventKind, event_claims
from broker.core.words.warrant import EDGE_EVENT_TYP, RECEIPT_TYP
from broker.effects.clock import RandomIds, SystemClock
from broker.effects.keeping.edge_events import EVENTS_MAX, REFUSED, EdgeEvents
from broker.effects.keyfiles import publish_key
from broker.effects.scribe import Scribe
from broker.ports import Ports
from tests.support.log.ledger import RealLedger
from tests.support.log.made import KEY, KEYS

EDGE_KEY = private_from_seed(b"e" * SEED_BYTES, algorithm=Algorithm.EDDSA)
STRANGER = private_from_seed(b"s" * SEED_BYTES, algorithm=Algorithm.EDDSA)
IDS = RandomIds()


def happened(**changes: Any) -> EdgeEvent:
    said = EdgeEvent(
        event_id=IDS.new(),
        edge=IDS.new(),
        at=datetime(2026, 1, 2, tzinfo=UTC),
        kind=EdgeEventKind.SWITCHED,
        tenant="demo",
        environment="dev",
        connector="retail",
        detail={"version": 2, "before": 1, "tested": True, "by": "user:ann"},
    )
    return replace(said, **changes)


def token(
    event: EdgeEvent, *, key: PrivateKey = EDGE_KEY, typ: str = EDGE_EVENT_TYP
) -> str:
    return sign(event_claims(event), key=key, typ=typ)


class Room:
    """Two brokers' readers over one database, and the edge that writes to it."""

    def __init__(self, log: RealLedger, edge: asyncpg.Connection, key: Path) -> None:
        self.log = log
        self.edge = edge
        scribe = Scribe(log.ledger, key=KEY, keeper=log.keeper)
        told = SimpleNamespace(receipt_key=key, environment="dev")
        self.readers = []
        for number in range(2):
            ports = SimpleNamespace(
                clock=SystemClock(), ids=IDS, tenant="demo", replica=f"broker-{number}"
            )
            made = EdgeEvents(
                log.database, cast("Ports", ports), scribe=scribe, told=told
            )
            self.readers.append(made)

    async def say(self, event_id: str, text: str) -> None:
        await self.edge.execute(
            "INSERT INTO edge_event (event_id, token) VALUES ($1, $2)", event_id, text
        )

    async def entries(self) -> list[dict[str, Any]]:
        size, _ = await self.log.ledger.history.head()
        return [open_entry(await self.log.bytes_at(seq), KEYS) for seq in range(size)]


@asynccontextmanager
async def room(pg_database: Any, key: Path) -> AsyncIterator[Room]:
    edge = await asyncpg.connect(pg_database.dsn("cf_edge"))
    async with RealLedger(pg_database).open() as log:
        yield Room(log, edge, key)
    await edge.close()


@pytest.fixture
def key(tmp_path: Path) -> Path:
    path = tmp_path / "receipt.jwk"
    publish_key(path, EDGE_KEY.public())
    return path


@pytest.mark.control("7.3")
async def test_a_change_to_a_credential_is_in_the_log_once(pg_database, key) -> None:
    async with room(pg_database, key) as here:
        event = happened()
        await here.say(event.event_id, token(event))
        assert [await reader.record_new() for reader in here.readers] == [1, 0]
        [entry] = await here.entries()
    assert (entry["kind"], entry["stage"]) == ("execute.credential", "execute")
    assert entry["entry_id"] == event.event_id
    assert entry["at"] == "2026-01-02T00:00:00.000000Z"
    assert entry["detail"] == {
        "event": "switched", "connector": "retail", "edge": event.edge, "version": 2,
        "before": 1, "tested": True, "by": "user:ann", "signed": token(event),
    }  # fmt: skip


async def test_two_brokers_at_once_record_it_once(pg_database, key) -> None:
    async with room(pg_database, key) as here:
        for _ in range(5):
            event = happened()
            await here.say(event.event_id, token(event))
        counts = await asyncio.gather(*(one.record_new() for one in here.readers))
        assert sum(counts) == 5
        assert len(await here.entries()) == 5


@pytest.mark.parametrize(
    "forge",
    [
        lambda event: token(event, key=STRANGER),
        lambda event: token(event, typ=RECEIPT_TYP),
        lambda event: token(replace(event, event_id=IDS.new())),
        lambda event: token(replace(event, environment="prod")),
        lambda event: token(replace(event, tenant="other")),
        lambda event: sign({"x": 1}, key=EDGE_KEY, typ=EDGE_EVENT_TYP),
        lambda _: "",
    ],
    ids=["key", "typ", "another id", "environment", "tenant", "claims", "empty"],
)
async def test_what_the_edge_did_not_sign_is_recorded_as_an_attempt(
    pg_database, key, forge
) -> None:
    async with room(pg_database, key) as here:
        event = happened()
        await here.say(event.event_id, forge(event))
        assert [await reader.record_new() for reader in here.readers] == [1, 0]
        [entry] = await here.entries()
    assert entry["kind"] == "record.alarm"
    assert entry["detail"] == {"alarm": REFUSED, "event": event.event_id}


async def test_without_the_edges_key_events_wait(pg_database, tmp_path) -> None:
    async with room(pg_database, tmp_path / "later.jwk") as here:
        event = happened()
        await here.say(event.event_id, token(event))
        assert await here.readers[0].record_new() == 0
        assert await here.entries() == []
        publish_key(tmp_path / "later.jwk", EDGE_KEY.public())
        assert await here.readers[0].record_new() == 1


async def test_one_sweep_records_so_many_and_the_next_one_the_rest(
    pg_database, key
) -> None:
    async with room(pg_database, key) as here:
        for _ in range(EVENTS_MAX + 1):
            event = happened()
            await here.say(event.event_id, token(event))
        recorded = [await here.readers[0].record_new() for _ in range(3)]
        assert recorded == [EVENTS_MAX, 1, 0]
