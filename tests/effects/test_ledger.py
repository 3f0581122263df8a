"""The ledger on PostgreSQL: replicas side by side, and every crash on the way."""

from __future__ import annotations

import asyncio
import random
import time

import asyncpg
import pytest

from broker.core.transparency.entry_leaf import EntryError
from broker.core.transparency.merkle import leaf_hash, root_of
from broker.core.transparency.proofs import check_consistency, check_inclusion
from broker.core.words.errors import LedgerUnavailableError
from broker.effects.ledger import SqlCall
from broker.effects.ledger.group_commit import (
    BATCH_BYTES_MAX,
    BATCH_LEAVES_MAX,
    WAITING_MAX,
    GroupCommit,
)
from broker.effects.ledger.history import PAGE_MAX
from broker.effects.ledger.integration import SWEEP_MAX
from broker.effects.ledger.jobs import LEAVES_MAX, Job, Leaf
from broker.effects.ledger.postgres import ANSWER_S_MAX
from tests.support.log.ledger import RealLedger
from tests.support.log.made import entry_id, leaf
from tests.support.servers import ADMIN, BROKER


@pytest.fixture
async def real(pg_database):
    async with RealLedger(pg_database).open() as opened:
        yield opened


@pytest.fixture
async def replica(pg_database):
    async with RealLedger(pg_database).open() as opened:
        yield opened


async def whole(real: RealLedger) -> list[bytes]:
    """Return all leaves, and check that head and hashes are those of the leaves."""
    entries = await real.ledger.history.entries(0)
    assert [each.seq for each in entries] == list(range(len(entries)))
    size, root = await real.ledger.history.head()
    leaves = [each.leaf for each in entries]
    assert (size, root) == (len(leaves), root_of(map(leaf_hash, leaves)))
    return leaves


async def test_two_replicas_make_one_log(real, replica):
    async def append(which: RealLedger, first: int):
        for number in range(first, first + 40, 2):
            await which.ledger.append([leaf(number), leaf(number + 1)])

    await asyncio.gather(append(real, 0), append(replica, 100), append(real, 200))
    assert len(set(await whole(replica))) == 120


async def test_two_replicas_integrate_what_both_see_once(real, replica):
    for number in range(30):
        await real.stage(leaf(number), as_id=entry_id(number))
    ids = [entry_id(number) for number in range(30)]
    places = await asyncio.gather(
        *(which.ledger.integrate([each]) for each in ids for which in (real, replica))
    )
    assert places[0::2] == places[1::2]
    assert len(await whole(real)) == 30


async def test_a_lower_stage_id_that_commits_late_is_not_forgotten(real):
    late, early = await real.as_role(BROKER), await real.as_role(BROKER)
    stage = (
        "INSERT INTO audit_stage (entry_id, leaf) VALUES ($1, $2) RETURNING stage_id"
    )
    transaction = late.transaction()
    await transaction.start()
    lower = await late.fetchval(stage, entry_id(1), leaf(1))
    higher = await early.fetchval(stage, entry_id(2), leaf(2))
    assert lower < higher
    await real.ledger.integrate([entry_id(2)])
    await transaction.commit()
    await real.ledger.sweep()
    assert await whole(real) == [leaf(2), leaf(1)]
    await late.close()
    await early.close()


async def test_proofs_from_stored_hashes_verify_across_tiles(real):
    leaves = [leaf(number) for number in range(600)]
    for first in range(0, 600, 100):
        await real.ledger.append(leaves[first : first + 100])
    hashes = [leaf_hash(each) for each in leaves]
    history = real.ledger.history
    chance = random.Random(5)
    sizes = [1, 2, 255, 256, 257, 511, 512, 513, 600]
    for size in sizes:
        root = root_of(hashes[:size])
        for index in {0, size - 1, chance.randrange(size)}:
            proof = await history.inclusion(index, size)
            check_inclusion(
                hashes[index], index=index, size=size, proof=proof, root=root
            )
        old = chance.randrange(size + 1)
        proof = await history.consistency(old, size)
        check_consistency(
            proof, old=old, old_root=root_of(hashes[:old]), new=size, new_root=root
        )
    rows = await real.database.rows(
        "SELECT level, index FROM audit_node ORDER BY index"
    )
    assert [(row["level"], row["index"]) for row in rows] == [(8, 0), (8, 1)]


async def test_a_page_of_entries_has_a_largest_length(real):
    for first in range(0, PAGE_MAX + 1, LEAVES_MAX):
        count = min(LEAVES_MAX, PAGE_MAX + 1 - first)
        await real.ledger.append([leaf(first + n) for n in range(count)])
    history = real.ledger.history
    assert len(await history.entries(0, count=PAGE_MAX + 1)) == PAGE_MAX
    assert len(await history.entries(1, count=PAGE_MAX)) == PAGE_MAX
    assert [each.seq for each in await history.entries(PAGE_MAX)] == [PAGE_MAX]


async def test_the_entries_of_an_action_are_found(real):
    action = entry_id(1, salt="action")
    await real.ledger.append([leaf(number) for number in range(6)])
    found = await real.ledger.history.of_action(action)
    assert [each.seq for each in found] == [2, 3]
    assert (await real.ledger.history.find(entry_id(4))).seq == 4
    assert await real.ledger.history.find(entry_id(99)) is None


async def test_an_action_id_that_is_no_uuid_does_not_stop_the_entry(real):
    await real.ledger.append([leaf(0, action={"action_id": "not a uuid"})])
    assert len(await whole(real)) == 1


# ---------------------------------------------------------------------------- crashes


async def test_killed_after_staging_the_entry_is_integrated_by_another_replica(
    real, replica
):
    await real.stage(leaf(0), as_id=entry_id(0))
    await replica.ledger.start()
    for _ in range(100):
        if await whole(replica):
            break
        await asyncio.sleep(0.05)
    assert await whole(replica) == [leaf(0)]


async def test_killed_with_the_head_locked_it_leaves_neither_lock_nor_entry(real):
    dying = await real.as_role(BROKER)
    await dying.execute("BEGIN")
    await dying.fetch("SELECT * FROM audit_lock('main', '{}', 0, true)")
    waiting = asyncio.create_task(real.ledger.append([leaf(0)]))
    await asyncio.sleep(0.2)
    dying.terminate()
    assert [place.seq for place in await waiting] == [0]


async def test_stopped_with_the_head_locked_it_holds_up_others_for_seconds_only(real):
    stopped = await real.as_role(BROKER)
    await stopped.execute("BEGIN")
    await stopped.fetch("SELECT * FROM audit_lock('main', '{}', 0, true)")
    started = time.monotonic()
    for _ in range(3):
        try:
            await real.ledger.append([leaf(0)])
            break
        except LedgerUnavailableError:
            continue
    assert time.monotonic() - started < 8
    assert await whole(real) == [leaf(0)]
    stopped.terminate()


async def test_no_caller_waits_longer_than_it_may(real):
    holder = await real.as_role(ADMIN)
    async with holder.transaction():
        await holder.execute("LOCK TABLE audit_head IN ACCESS EXCLUSIVE MODE")
        started = time.monotonic()
        with pytest.raises(LedgerUnavailableError):
            await real.ledger.append([leaf(0)])
        assert time.monotonic() - started < ANSWER_S_MAX + 1
    await holder.close()
    await real.ledger.append([leaf(1)])


async def test_a_lost_connection_is_an_error_once_and_then_forgotten(real):
    await real.ledger.append([leaf(0)])
    admin = await real.as_role(ADMIN)
    for number in range(1, 4):
        await admin.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND usename = 'cf_broker'"
        )
        for _ in range(2):
            try:
                await real.ledger.append([leaf(number)])
                break
            except LedgerUnavailableError:
                continue
    await admin.close()
    assert await whole(real) == [leaf(number) for number in range(4)]


async def test_an_answer_lost_at_commit_leads_to_one_entry(real, replica):
    """The batch is committed, but its connection dies before saying so."""
    await replica.add_functions()
    call = SqlCall("rows_all", (7,))
    # What the first attempt did before its answer was lost:
    await replica.ledger.append_with([leaf(0)], call)
    places = await real.ledger.append_with([leaf(0)], call)
    assert [place.seq for place in places] == [0]
    assert await real.rows() == {7}
    assert await whole(real) == [leaf(0)]


async def test_a_caller_that_goes_away_takes_nobody_along(real):
    holder = await real.as_role(BROKER)
    async with holder.transaction():
        await holder.fetch("SELECT * FROM audit_lock('main', '{}', 0, true)")
        gone = asyncio.create_task(real.ledger.append([leaf(0)]))
        stays = asyncio.create_task(real.ledger.append([leaf(1)]))
        await asyncio.sleep(0.1)
        gone.cancel()
        with pytest.raises(asyncio.CancelledError):
            await gone
    assert len(await stays) == 1
    await holder.close()
    assert set(await whole(real)) == {leaf(0), leaf(1)}


async def test_a_call_that_cannot_work_is_told_to_its_caller_alone(real):
    bad = real.ledger.append_with([leaf(0)], SqlCall("no_such_function", (1,)))
    text = real.ledger.append_with([leaf(2)], SqlCall("octet_length", ("a\0b",)))
    good = real.ledger.append([leaf(1)])
    answers = await asyncio.gather(bad, text, good, return_exceptions=True)
    assert isinstance(answers[0], asyncpg.UndefinedFunctionError)
    assert answers[1] is not None
    assert await whole(real) == [leaf(1)]


async def test_a_log_whose_server_became_a_standby_leaves_it(real):
    await real.add_functions()
    call = SqlCall("rows_all", (7,))
    async with real.database.connection() as connection:
        await connection.execute("SET default_transaction_read_only = on")
    with pytest.raises(LedgerUnavailableError):
        await real.ledger.append_with([leaf(0)], call)
    await real.ledger.append_with([leaf(0)], call)
    assert await whole(real) == [leaf(0)]


@pytest.mark.parametrize("name", ["", "a b", "a;b", "A", "a(", "pg_catalog.now", "1a"])
def test_only_a_plain_name_is_called(name):
    with pytest.raises(ValueError, match="plain"):
        SqlCall(name, ())


async def test_a_head_that_was_tampered_with_stops_the_log(real):
    await real.ledger.append([leaf(0)])
    admin = await real.as_role(ADMIN)
    await admin.execute("UPDATE audit_head SET frontier = ARRAY[sha256('x')]")
    with pytest.raises(LedgerUnavailableError, match="does not agree with itself"):
        await real.ledger.append([leaf(1)])
    assert "ledger_head_damaged" in real.alarm.words
    await admin.close()


async def test_after_close_nothing_is_taken_and_nothing_waits(pg_database):
    async with RealLedger(pg_database).open() as real:
        waiting = [asyncio.create_task(real.ledger.append([leaf(n)])) for n in range(5)]
        await asyncio.sleep(0)
        await real.ledger.close()
        assert len(await asyncio.gather(*waiting)) == 5
        with pytest.raises(LedgerUnavailableError, match="closed"):
            await real.ledger.append([leaf(9)])


async def test_more_staged_entries_than_one_sweep_takes_are_taken_by_the_next(real):
    connection = await real.as_role(BROKER)
    count = SWEEP_MAX + 1
    await connection.executemany(
        "INSERT INTO audit_stage (entry_id, leaf) VALUES ($1, $2)",
        [(entry_id(n), leaf(n)) for n in range(count)],
    )
    await real.ledger.sweep()
    assert (await real.ledger.history.head())[0] == SWEEP_MAX
    await real.ledger.sweep()
    assert (await real.ledger.history.head())[0] == count
    await connection.close()


# ------------------------------------------------------------------------ group commit


def job(count: int = 1, size: int = 1) -> Job:
    done = asyncio.get_running_loop().create_future()
    return Job(done, tuple(Leaf("", None, b"x" * size, b"") for _ in range(count)))


class Batches:
    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.go = asyncio.Event()

    async def write(self, jobs) -> None:
        await self.go.wait()
        self.sizes.append(len(jobs))
        for each in jobs:
            each.done.set_result(())


async def batches_of(jobs: list[Job]) -> list[int]:
    """Return how jobs were batched that all waited while the first was written."""
    batches = Batches()
    group = GroupCommit(batches.write)
    for each in [job(), *jobs]:
        group.submit(each)
        await asyncio.sleep(0)
    batches.go.set()
    await group.close()
    return batches.sizes[1:]


async def test_what_comes_while_a_batch_is_written_makes_the_next_batch() -> None:
    assert await batches_of([job() for _ in range(7)]) == [7]


async def test_a_batch_has_a_largest_number_of_entries() -> None:
    most = [job() for _ in range(BATCH_LEAVES_MAX)]
    assert await batches_of(most) == [BATCH_LEAVES_MAX]
    more = [job() for _ in range(BATCH_LEAVES_MAX + 1)]
    assert await batches_of(more) == [BATCH_LEAVES_MAX, 1]


async def test_a_batch_has_a_largest_size() -> None:
    half = BATCH_BYTES_MAX // 2
    assert await batches_of([job(size=half), job(size=half)]) == [2]
    assert await batches_of([job(size=half), job(size=half + 1)]) == [1, 1]


async def test_a_single_job_may_be_a_batch_of_its_own() -> None:
    large = job(size=BATCH_BYTES_MAX + 1)
    assert await batches_of([large, job()]) == [1, 1]


async def test_too_many_waiting_are_refused_at_once() -> None:
    batches = Batches()
    group = GroupCommit(batches.write)
    for _ in range(WAITING_MAX):
        group.submit(job())
    with pytest.raises(LedgerUnavailableError, match="too many"):
        group.submit(job())
    batches.go.set()
    await group.close()
    assert sum(batches.sizes) == WAITING_MAX


async def test_an_error_that_nobody_thought_of_reaches_every_caller_as_unavailable(
    real,
):
    def broken():
        raise ZeroDivisionError

    await real.stage(leaf(0), as_id=entry_id(0))
    real.ledger._integrator._keys = broken  # noqa: SLF001
    with pytest.raises(LedgerUnavailableError, match="unexpected"):
        await real.ledger.integrate([entry_id(0)])
    real.ledger._integrator._keys = lambda: real.keys  # noqa: SLF001
    with pytest.raises(EntryError):
        await real.ledger.integrate([entry_id(1)])
    assert len(await real.ledger.integrate([entry_id(0)])) == 1
