"""The log's tables: what the broker's role may not do, and what no batch may be."""

from __future__ import annotations

import asyncio
import hashlib

import asyncpg
import pytest

from broker.core.transparency.merkle import Frontier, append, leaf_hash
from tests.support.log.ledger import RealLedger
from tests.support.log.made import entry_id, leaf
from tests.support.servers import ADMIN, BROKER, EDGE, OWNER

TABLES = (
    "audit_stage",
    "audit_refused",
    "audit_entry",
    "audit_head",
    "audit_node",
    "audit_checkpoint",
)
LEAF = leaf(0)
HASH = leaf_hash(LEAF)


@pytest.fixture
async def real(pg_database):
    async with RealLedger(pg_database).open() as opened:
        yield opened


@pytest.fixture
async def broker(real):
    connection = await real.as_role(BROKER)
    yield connection
    await connection.close()


async def call_append(connection, **changes):
    """Call audit_append with a right batch of one entry, changed."""
    grown = append(Frontier(), [HASH]).frontier
    right = {
        "log": "main",
        "size": 0,
        "entry_ids": [entry_id(0)],
        "action_ids": [None],
        "leaves": [LEAF],
        "frontier": list(grown.hashes),
        "root": grown.root,
        "levels": [],
        "indexes": [],
        "hashes": [],
        "stage_ids": [],
    }
    holes = ", ".join(f"${at + 1}" for at in range(len(right)))
    return await connection.fetchval(
        f"SELECT audit_append({holes})", *(right | changes).values()
    )


async def test_the_broker_changes_and_deletes_nothing(real, broker):
    await real.ledger.append([LEAF])
    for table in TABLES:
        for verb in ("UPDATE {} SET log = 'x'", "DELETE FROM {}", "TRUNCATE {}"):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await broker.execute(verb.format(table))


async def test_the_broker_writes_only_what_it_stages_and_checkpoints(broker):
    for into in (
        "audit_entry (log, seq, entry_id, leaf) VALUES ('main', 0, $1, 'x')",
        "audit_head (log, size, frontier, root) SELECT $1::text, 0, '{}', sha256('')",
        "audit_node SELECT $1::text, 8, 0, sha256('')",
        "audit_stage (log, entry_id, leaf, staged_at) VALUES ('main', $1, 'x', now())",
        "audit_refused VALUES (1, 'main', $1, 'x', 'y', now())",
    ):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await broker.execute(f"INSERT INTO {into}", entry_id(0))


async def test_the_edge_sees_nothing_of_the_log(real):
    edge = await real.as_role(EDGE)
    for table in TABLES:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await edge.fetch(f"TABLE {table}")
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await edge.fetch("SELECT * FROM audit_lock('main', '{}', 0, true)")
    await edge.close()


async def test_not_even_the_owner_changes_history_in_passing(real):
    for role in (OWNER, ADMIN):
        connection = await real.as_role(role)
        for table in ("audit_entry", "audit_node", "audit_checkpoint"):
            for verb in ("UPDATE {} SET log = 'x'", "DELETE FROM {}", "TRUNCATE {}"):
                with pytest.raises(asyncpg.PostgresError, match="only grows") as caught:
                    await connection.execute(verb.format(table))
                assert caught.value.sqlstate == "CF002"
        await connection.close()


async def test_nobody_logs_in_as_the_sequencer(broker):
    row = await broker.fetchrow(
        "SELECT rolcanlogin, rolsuper FROM pg_roles WHERE rolname = 'cf_sequencer'"
    )
    assert dict(row) == {"rolcanlogin": False, "rolsuper": False}
    owners = await broker.fetch(
        "SELECT proname, pg_get_userbyid(proowner) AS owner, prosecdef FROM pg_proc "
        "WHERE proname LIKE 'audit\\_%' AND proname <> 'audit_never_changes'"
    )
    assert {(row["owner"], row["prosecdef"]) for row in owners} == {
        ("cf_sequencer", True)
    }
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await broker.execute("SET ROLE cf_sequencer")
    may = "SELECT has_schema_privilege('cf_sequencer', 'public', 'CREATE')"
    assert await broker.fetchval(may) is False


async def test_a_right_batch_is_taken(broker):
    await broker.fetch("SELECT * FROM audit_lock('main', '{}', 0, true)")
    assert await call_append(broker) == 1
    stored = await broker.fetchrow("SELECT * FROM audit_entry")
    assert stored["leaf_hash"] == hashlib.sha256(b"\0" + LEAF).digest() == HASH


WRONG: tuple[dict[str, object], ...] = (
    {"size": 1},
    {"size": -1},
    {"log": "other"},
    {"entry_ids": []},
    {"entry_ids": [entry_id(0), entry_id(1)]},
    {"leaves": [LEAF, LEAF]},
    {"leaves": []},
    {"action_ids": []},
    {"frontier": []},
    {"frontier": [HASH, HASH]},
    {"frontier": [HASH[:31]]},
    {"root": HASH[:31]},
    {"leaves": [b""]},
    {"leaves": [b"x" * 65_537]},
    {"levels": [8], "indexes": [0], "hashes": []},
    {"levels": [8], "indexes": [0], "hashes": [HASH]},
    {"levels": [7], "indexes": [0], "hashes": [HASH]},
    {"entry_ids": [None]},
    {"leaves": [None]},
)


async def test_a_batch_that_does_not_continue_the_log_is_refused(broker):
    await broker.fetch("SELECT * FROM audit_lock('main', '{}', 0, true)")
    for change in WRONG:
        with pytest.raises(asyncpg.PostgresError):
            await call_append(broker, **change)
        assert await broker.fetchval("SELECT count(*) FROM audit_entry") == 0, change
        assert await broker.fetchval("SELECT size FROM audit_head") == 0, change
    assert await call_append(broker) == 1


async def test_the_longest_leaf_is_taken(broker):
    longest = b"x" * 65_536
    grown = append(Frontier(), [leaf_hash(longest)]).frontier
    await broker.fetch("SELECT * FROM audit_lock('main', '{}', 0, true)")
    size = await call_append(
        broker, leaves=[longest], frontier=list(grown.hashes), root=grown.root
    )
    assert size == 1


async def test_an_unfinished_subtree_is_never_stored_as_finished(real, broker):
    await real.ledger.append([leaf(n) for n in range(3)])
    row = await broker.fetchrow("SELECT * FROM audit_lock('main', '{}', 0, true)")
    grown = append(Frontier(3, tuple(row["frontier"])), [leaf_hash(leaf(3))]).frontier
    for index in (0, 1):
        with pytest.raises(asyncpg.PostgresError, match="well formed"):
            await call_append(
                broker,
                size=3,
                entry_ids=[entry_id(3)],
                frontier=list(grown.hashes),
                root=grown.root,
                levels=[8],
                indexes=[index],
                hashes=[HASH],
            )


async def test_a_staged_row_goes_only_when_its_very_bytes_are_in_the_log(real, broker):
    await real.stage(LEAF, as_id=entry_id(0))
    stage_id = await broker.fetchval("SELECT stage_id FROM audit_stage")
    other = leaf(1)
    grown = append(Frontier(), [leaf_hash(other)]).frontier
    await broker.fetch("SELECT * FROM audit_lock('main', '{}', 0, true)")
    await call_append(
        broker,
        entry_ids=[entry_id(0)],
        leaves=[other],
        frontier=list(grown.hashes),
        root=grown.root,
        stage_ids=[stage_id],
    )
    assert await broker.fetchval("SELECT leaf FROM audit_stage") == LEAF
    assert await broker.fetchval("SELECT audit_unstage($1)", [stage_id]) == 0


async def test_a_row_put_aside_is_kept_whole(real, broker):
    await real.stage(b"no entry", as_id=entry_id(0))
    await real.ledger.sweep()
    row = await broker.fetchrow("SELECT entry_id, leaf, problem FROM audit_refused")
    assert (str(row["entry_id"]), row["leaf"]) == (entry_id(0), b"no entry")
    assert row["problem"] == "malformed"
    assert await broker.fetchval("SELECT count(*) FROM audit_stage") == 0


async def test_the_head_is_locked_until_the_transaction_ends(real, broker):
    transaction = broker.transaction()
    await transaction.start()
    await broker.fetch("SELECT * FROM audit_lock('main', '{}', 0, true)")
    waiting = asyncio.create_task(real.ledger.append([LEAF]))
    await asyncio.sleep(0.3)
    assert not waiting.done()
    await transaction.rollback()
    assert [place.seq for place in await waiting] == [0]


async def test_whoever_only_sweeps_does_not_queue(real, broker):
    await real.stage(LEAF, as_id=entry_id(0))
    async with broker.transaction():
        await broker.fetch("SELECT * FROM audit_lock('main', '{}', 0, true)")
        await asyncio.wait_for(real.ledger.sweep(), 1)
        assert await broker.fetchval("SELECT count(*) FROM audit_stage") == 1


async def test_appending_commits_durably_whatever_the_session_says(broker):
    await broker.execute("SET synchronous_commit = off")
    async with broker.transaction():
        await broker.fetch("SELECT * FROM audit_lock('main', '{}', 0, true)")
        await call_append(broker)
        assert await broker.fetchval("SHOW synchronous_commit") == "on"


@pytest.mark.parametrize("asked", [(1001, []), (-1, []), (0, 1001)])
async def test_nobody_locks_the_log_to_read_too_much(broker, asked):
    sweep_max, wanted = asked
    ids = [entry_id(n) for n in range(wanted)] if wanted else []
    with pytest.raises(asyncpg.PostgresError, match="1000"):
        await broker.fetch(
            "SELECT * FROM audit_lock('main', $1, $2, true)", ids, sweep_max
        )


async def test_as_many_as_a_thousand_staged_entries_may_be_asked_for(broker):
    ids = [entry_id(n) for n in range(1000)]
    row = await broker.fetchrow("SELECT * FROM audit_lock('main', $1, 1000, true)", ids)
    assert row["stage_ids"] is None
