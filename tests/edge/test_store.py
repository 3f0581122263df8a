"""The store: the real one and the fake do the same, and both fail closed."""

import asyncio
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest
import pytest_asyncio

from broker.core.words.warrant import Warrant
from broker.edge.identity import uuid7
from broker.edge.store import (
    ANSWER_S_MAX,
    CONNECTIONS_MAX,
    Store,
    StoreError,
)
from tests.edge.fake_store import FakeStore


class Pair:
    """A store, and a way to move epochs and spent warrants behind its back."""

    def __init__(self, store: Any, owner: asyncpg.Connection | None) -> None:
        self.store = store
        self.owner = owner

    async def move(self, scope: str, epoch: int) -> None:
        if self.owner is None:
            self.store.moved[scope] = epoch
            return
        await self.owner.execute(
            "INSERT INTO revocation_epoch (scope, epoch) VALUES ($1, $2) "
            "ON CONFLICT (scope) DO UPDATE SET epoch = excluded.epoch",
            scope,
            epoch,
        )


@pytest.fixture(params=["fake", "real"])
def database(request) -> Any:
    """Return the real database, if it is its turn; made where no loop runs yet."""
    real = request.param == "real"
    return request.getfixturevalue("pg_database") if real else None


@pytest_asyncio.fixture
async def pair(database) -> AsyncIterator[Pair]:
    if database is None:
        yield Pair(FakeStore(), None)
        return
    store = Store(database.dsn("cf_edge"), password_file=None)
    await store.open()
    owner = await asyncpg.connect(database.dsn())
    yield Pair(store, owner)
    await owner.close()
    await store.close()


def order(**changes: Any) -> Warrant:
    now = datetime.now(UTC)
    plain: dict[str, Any] = {
        "warrant_id": uuid7(now),
        "action_id": uuid7(now),
        "tenant": "demo",
        "environment": "dev",
        "connector": "retail",
        "tool": "orders.refund",
        "manifest": "0" * 64,
        "arguments": {},
        "customer_id": "",
        "agent_id": "a",
        "edge": "edge-1",
        "boot": "boot-1",
        "epochs": (("agent:a", 2), ("global:dev", 0)),
        "idempotency_key": "",
        "issued_at": now,
        "expires_at": now + timedelta(seconds=5),
    }
    return Warrant(**(plain | changes))


async def test_a_warrant_is_fresh_once(pair) -> None:
    warrant = order()
    assert [(await pair.store.spend(warrant))[0] for _ in range(3)] == [
        True,
        False,
        False,
    ]
    assert (await pair.store.spend(order()))[0] is True


async def test_of_many_at_once_one_is_fresh(pair) -> None:
    warrant = order()
    count = CONNECTIONS_MAX * 3
    spent = await asyncio.gather(*(pair.store.spend(warrant) for _ in range(count)))
    assert sum(fresh for fresh, _ in spent) == 1


async def test_spending_tells_the_current_epochs(pair) -> None:
    before = time.monotonic()
    _, epochs = await pair.store.spend(order())
    assert epochs.scopes == {}
    assert before <= epochs.asked_at <= time.monotonic()
    await pair.move("agent:a", 2)
    await pair.move("agent:b", 9)
    _, epochs = await pair.store.spend(order())
    assert epochs.scopes == {"agent:a": 2}
    assert not epochs.revoked(order().epochs)
    await pair.move("agent:a", 3)
    _, epochs = await pair.store.spend(order())
    assert epochs.revoked(order().epochs)


async def test_epochs_are_the_current_ones(pair) -> None:
    await pair.move("global:dev", 1)
    epochs = await pair.store.epochs(["global:dev", "agent:a"])
    assert epochs.scopes == {"global:dev": 1}
    assert epochs.revoked(order().epochs)
    assert (await pair.store.epochs([])).scopes == {}


async def test_only_warrants_that_expired_long_ago_are_purged(pair) -> None:
    old = datetime.now(UTC) - timedelta(days=1, minutes=1)
    long_ago = order(issued_at=old, expires_at=old + timedelta(seconds=5))
    recent = order()
    for warrant in (long_ago, recent):
        await pair.store.spend(warrant)
    assert await pair.store.purge() == 1
    assert (await pair.store.spend(recent))[0] is False
    assert (await pair.store.spend(long_ago))[0] is True


async def test_refresh_tokens_that_were_replaced_long_ago_are_purged(
    pg_database,
) -> None:
    owner = await asyncpg.connect(pg_database.dsn())
    await owner.execute(
        "INSERT INTO edge_credential VALUES ('demo', 'dev', 'shop', 1,"
        " 'oauth_refresh', 'https://x', false, '{}', 'k', 'w', 's')"
    )
    await owner.execute(
        "INSERT INTO edge_credential_rotated SELECT 'demo', 'dev', 'shop', 1, n, 's',"
        " now() - CASE WHEN n = 2 THEN interval '1 hour' ELSE interval '2 days' END"
        " FROM generate_series(1, 11) AS n"
    )
    store = Store(pg_database.dsn("cf_edge"), password_file=None)
    await store.open()
    assert await store.purge() == 0
    left = await owner.fetch("SELECT seq FROM edge_credential_rotated ORDER BY seq")
    # The newest eight before the last stay, and one that was replaced within the day.
    assert [row["seq"] for row in left] == [2, *range(4, 12)]
    await store.close()
    await owner.close()


async def test_a_database_that_does_not_answer_is_an_error_and_no_answer(
    tmp_path,
) -> None:
    store = Store(f"postgresql://cf_edge@/x?host={tmp_path}", password_file=None)
    with pytest.raises(StoreError, match="not open"):
        await store.epochs([])
    await store.open()
    for question in (store.spend(order()), store.epochs([]), store.purge()):
        with pytest.raises(StoreError, match="PostgreSQL"):
            await question
    await store.close()


async def test_a_database_that_hangs_is_given_up_in_time(pg_database) -> None:
    owner = await asyncpg.connect(pg_database.dsn())
    store = Store(pg_database.dsn("cf_edge"), password_file=None)
    await store.open()
    await store.epochs([])
    async with owner.transaction():
        await owner.execute("LOCK TABLE edge_spent_warrant, revocation_epoch")
        began = time.monotonic()
        with pytest.raises(StoreError, match="Timeout"):
            await store.spend(order())
        assert time.monotonic() - began < ANSWER_S_MAX + 1
    # And it works again by itself.
    assert (await store.spend(order()))[0] is True
    await owner.close()
    await store.close()


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM edge_spent_warrant",
        "UPDATE edge_spent_warrant SET expires_at = now()",
        "TRUNCATE edge_spent_warrant",
        "DELETE FROM edge_credential",
        "UPDATE edge_credential SET base_url = 'https://evil.test'",
        "DELETE FROM edge_credential_use",
        "UPDATE edge_credential_use SET version = 1",
        "DELETE FROM edge_credential_rotated",
        "DELETE FROM edge_event",
        "UPDATE edge_event SET token = ''",
        "INSERT INTO edge_event_recorded VALUES (gen_random_uuid())",
        "SELECT edge_event_record('{}')",
        "SELECT * FROM audit_entry",
        "INSERT INTO audit_stage (entry_id) VALUES (gen_random_uuid())",
        "INSERT INTO revocation_epoch (scope, epoch) VALUES ('x:y', 1)",
        "UPDATE revocation_epoch SET epoch = 0",
        "SELECT * FROM authority",
        "CREATE TABLE x (y int)",
    ],
)
async def test_the_edges_role_can_undo_nothing(pg_edge_dsn, statement) -> None:
    edge = await asyncpg.connect(pg_edge_dsn)
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await edge.execute(statement)
    await edge.close()


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT * FROM edge_credential",
        "SELECT * FROM edge_spent_warrant",
        "SELECT * FROM edge_credential_use",
        "SELECT * FROM edge_credential_rotated",
        "INSERT INTO edge_event (event_id, token) VALUES (gen_random_uuid(), '')",
        "INSERT INTO edge_event_recorded VALUES (gen_random_uuid())",
        "DELETE FROM edge_event",
        "SELECT edge_purge()",
        "SELECT edge_credential_remove('demo', 'dev', 'x', 1, gen_random_uuid(), '')",
        "SELECT edge_spend(gen_random_uuid(), gen_random_uuid(), 'e', now(), '{}')",
    ],
)
async def test_the_brokers_role_sees_nothing_of_the_edges(
    pg_broker_dsn, statement
) -> None:
    broker = await asyncpg.connect(pg_broker_dsn)
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await broker.execute(statement)
    await broker.close()
