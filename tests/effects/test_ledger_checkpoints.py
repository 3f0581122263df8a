"""Checkpoints: close behind the log, and never of a log that was not the signed one."""

from __future__ import annotations

import asyncio
import math

import asyncpg
import pytest

from broker.core.transparency.checkpoint import Checkpoint, open_checkpoint
from broker.core.transparency.entry_leaf import open_entry
from broker.core.transparency.merkle import leaf_hash, root_of
from broker.core.transparency.tlog_proof import check_tlog_proof
from broker.core.words.errors import LedgerUnavailableError
from broker.effects.ledger import SignerClient
from broker.effects.ledger.checkpoints import LAG_S_MAX, UNSEEN_S_MAX
from tests.support.log.ledger import FakeSigner, RealLedger
from tests.support.log.made import KEYS, LOG, leaf
from tests.support.log.signer import SignerProcess
from tests.support.servers import ADMIN, BROKER, Database


@pytest.fixture
async def real(pg_database):
    async with RealLedger(pg_database).open() as opened:
        yield opened


@pytest.fixture
def signer(tmp_path):
    process = SignerProcess(tmp_path)
    process.start()
    yield process
    process.kill()


@pytest.fixture
async def client(signer):
    opened = SignerClient(signer.socket)
    yield opened
    await opened.close()


async def caught_up(real: RealLedger) -> bool:
    """Wait until the newest checkpoint covers the log, at most two seconds."""
    for _ in range(200):
        size, _ = await real.ledger.history.head()
        if real.keeper.newest is not None and newest(real)[0].size == size:
            return True
        await asyncio.sleep(0.01)
    return False


def newest(real: RealLedger) -> tuple[Checkpoint, str]:
    found = real.keeper.newest
    assert found is not None
    return found


async def refused(real: RealLedger) -> str:
    with pytest.raises(LedgerUnavailableError) as caught:
        await real.keeper.keep_up()
    return str(caught.value)


async def test_a_new_entry_is_covered_soon_without_anybody_asking(real):
    await real.keeper.start()
    await real.ledger.append([leaf(0)])
    assert await caught_up(real)
    real.keeper.require_current()
    assert real.keeper.lag_s() == 0


async def test_many_entries_share_few_signatures(real):
    await real.keeper.start()
    for number in range(60):
        await real.ledger.append([leaf(number)])
    assert await caught_up(real)
    assert real.signer.asked < 30


async def test_until_signer_and_database_were_compared_nothing_is_decided(real):
    assert real.keeper.lag_s() == math.inf
    with pytest.raises(LedgerUnavailableError, match="has not confirmed"):
        real.keeper.require_current()
    await real.keeper.keep_up()
    real.keeper.require_current()


async def test_without_a_signer_the_lag_grows_and_after_its_limit_nothing_is_decided(
    real,
):
    await real.keeper.keep_up()
    real.signer.down = True
    await real.ledger.append([leaf(0)])
    await refused(real)
    assert 0 < real.keeper.lag_s() < LAG_S_MAX
    real.keeper.require_current()
    # Time passes.
    real.keeper._behind_since -= LAG_S_MAX  # noqa: SLF001
    with pytest.raises(LedgerUnavailableError, match="behind the log"):
        real.keeper.require_current()
    await real.ledger.append([leaf(1)])
    assert real.keeper.lag_s() > LAG_S_MAX
    real.signer.down = False
    await real.keeper.keep_up()
    assert real.keeper.lag_s() == 0


async def test_the_lag_counts_from_the_oldest_entry_that_nothing_covers(real):
    await real.keeper.keep_up()
    real.signer.down = True
    await real.ledger.append([leaf(0)])
    await asyncio.sleep(0.5)
    await real.ledger.append([leaf(1)])
    await refused(real)
    assert 0.5 <= real.keeper.lag_s() < 2


async def test_a_lag_that_nobody_looked_at_for_long_is_no_longer_believed(real):
    await real.keeper.keep_up()
    real.keeper._seen_at -= UNSEEN_S_MAX - 0.5  # noqa: SLF001
    assert real.keeper.lag_s() == 0
    real.keeper._seen_at -= 1  # noqa: SLF001
    assert real.keeper.lag_s() > UNSEEN_S_MAX


async def test_a_replica_that_signs_nothing_sees_what_another_had_signed(
    real, pg_database
):
    await real.ledger.append([leaf(0)])
    await real.keeper.keep_up()
    async with RealLedger(pg_database).open(signer=real.signer) as other:
        await other.keeper.keep_up()
        assert other.keeper.newest == real.keeper.newest
        assert other.keeper.lag_s() == 0
    assert real.signer.asked == 1


async def test_two_keepers_do_not_get_in_each_others_way(real, pg_database):
    async with RealLedger(pg_database).open(signer=real.signer) as other:
        await real.keeper.start()
        await other.keeper.start()
        for number in range(0, 60, 2):
            await asyncio.gather(
                real.ledger.append([leaf(number)]),
                other.ledger.append([leaf(number + 1)]),
            )
        assert await caught_up(real)
        assert await caught_up(other)
        assert real.alarm.told == other.alarm.told == []


async def test_died_between_signing_and_storing_the_same_head_is_signed_again(real):
    await real.ledger.append([leaf(0)])
    root = root_of([leaf_hash(leaf(0))])
    # The signature was given, and the broker died before it stored it.
    real.signer.last = Checkpoint(LOG.name, 1, root)
    await real.keeper.keep_up()
    assert newest(real)[0].size == 1


async def test_nonsense_in_the_table_of_checkpoints_is_passed_over(real):
    await real.ledger.append([leaf(0)])
    await real.keeper.keep_up()
    true = newest(real)
    connection = await real.as_role(BROKER)
    insert = "INSERT INTO audit_checkpoint (log, size, note) VALUES ('main', $1, $2)"
    await connection.execute(insert, 7, "nonsense\n")
    await connection.execute(insert, 2, true[1])
    forged = true[1].replace("\n1\n", "\n3\n")
    await connection.execute(insert, 3, forged)
    await connection.close()
    await real.ledger.append([leaf(n) for n in range(1, 4)])
    fresh = RealLedger(real.test_database)
    async with fresh.open(signer=real.signer):
        await fresh.keeper.keep_up()
        assert newest(fresh)[0].size == 4
        assert "ledger_checkpoint_invalid" in fresh.alarm.words


# ---------------------------------------------------- restored and rewritten databases


async def copy_of(real: RealLedger, name: str) -> Database:
    """Return a copy of the database, as a backup would be."""
    await real.database.close()
    access = real.test_database.access
    admin = await asyncpg.connect(access.dsn(role=ADMIN, database="postgres"))
    await admin.execute(f"CREATE DATABASE {name} TEMPLATE {real.test_database.name}")
    await admin.execute(f"GRANT CONNECT ON DATABASE {name} TO {BROKER}")
    await admin.close()
    return Database(name=name, access=access)


@pytest.fixture
async def backup(real, client):
    """A signed log of 5 entries, of which a backup was made; then it grew to 8."""
    async with RealLedger(real.test_database).open(signer=client) as before:
        await before.ledger.append([leaf(number) for number in range(5)])
        await before.keeper.keep_up()
        copy = await copy_of(before, f"{real.test_database.name}_copy")
        await before.ledger.append([leaf(number) for number in range(5, 8)])
        await before.keeper.keep_up()
    yield copy
    admin = await asyncpg.connect(copy.access.dsn(role=ADMIN, database="postgres"))
    await admin.execute(f"DROP DATABASE {copy.name} WITH (FORCE)")
    await admin.close()


async def test_a_database_restored_from_an_older_backup_is_noticed_at_once(
    backup, client
):
    async with RealLedger(backup).open(signer=client) as restored:
        assert "not the one that was signed" in await refused(restored)
        assert restored.keeper.lag_s() == math.inf
        assert "ledger_signer_disagrees" in restored.alarm.words


async def test_a_restored_database_that_grew_again_is_never_signed(backup, client):
    async with RealLedger(backup).open(signer=client) as restored:
        for number in range(100, 106):
            await restored.ledger.append([leaf(number)])
            await refused(restored)
        assert (await restored.ledger.history.head())[0] == 11
        notes = await restored.ledger.history.notes(first=0, last=99, count=9)
        assert len(notes) == 1


async def test_recover_goes_on_under_a_new_origin_and_records_it(
    backup, client, signer
):
    async with RealLedger(backup).open(signer=client) as restored:
        await refused(restored)
        old = (await client.head()).log
        assert signer.recover("restored from Monday's backup") == 0
        await restored.keeper.keep_up()
        head, note = newest(restored)
        new = (await client.head()).log
        assert head.origin == new.name != old.name
        assert open_checkpoint(note, new).size == 6
        entry = open_entry(await restored.bytes_at(5), KEYS)
        assert (entry["kind"], entry["detail"]) == (
            "record.origin",
            "restored from Monday's backup",
        )
        assert restored.origins[0].former.last.size == 8
        restored.keeper.require_current()
        # What was signed under the old name still verifies.
        (earlier,) = await restored.ledger.history.notes(first=5, last=5, count=1)
        assert open_checkpoint(earlier, old).size == 5


async def test_two_replicas_record_a_new_origin_once(backup, client, signer):
    signer.recover("restored")
    second = SignerClient(signer.socket)
    async with (
        RealLedger(backup).open(signer=client) as one,
        RealLedger(backup).open(signer=second) as two,
    ):
        await asyncio.gather(one.keeper.keep_up(), two.keeper.keep_up())
        for _ in range(3):
            await one.keeper.keep_up()
            await two.keeper.keep_up()
        entries = await one.ledger.history.entries(5)
        assert len(entries) == 1
        assert newest(one)[0].size == newest(two)[0].size == 6
    await second.close()


@pytest.mark.parametrize(
    "tampering",
    [
        "UPDATE audit_entry SET leaf = decode('00', 'hex') WHERE seq = 1",
        "UPDATE audit_head SET root = sha256('x')",
    ],
)
async def test_a_log_whose_past_was_rewritten_is_never_signed(real, tampering):
    await real.ledger.append([leaf(number) for number in range(3)])
    await real.keeper.keep_up()
    admin = await real.as_role(ADMIN)
    await admin.execute("SET session_replication_role = replica")
    await real.ledger.append([leaf(3)])
    await admin.execute(tampering)
    await admin.close()
    assert "not the one that was signed" in await refused(real)
    assert real.keeper.lag_s() == math.inf


# ------------------------------------------------------------------------ signer client


async def test_the_client_asks_a_real_signer(real, client):
    async with RealLedger(real.test_database).open(signer=client) as which:
        await which.ledger.append([leaf(number) for number in range(4)])
        proof = await which.keeper.proof(2)
        log = (await client.head()).log
        assert check_tlog_proof(proof, leaf=leaf(2), log=log).size == 4


async def test_the_client_outlives_the_signer(client, signer):
    assert (await client.head()).last.size == 0
    signer.kill()
    with pytest.raises(LedgerUnavailableError, match="does not answer"):
        await client.head()
    signer.start()
    assert (await client.head()).last.size == 0


async def test_a_signer_that_stops_in_the_middle_is_given_up_in_time(
    tmp_path, monkeypatch
):
    monkeypatch.setattr("broker.effects.ledger.signer_client.ANSWER_S_MAX", 0.3)
    got = asyncio.Event()

    async def silent(reader, writer):
        await reader.read(4)
        got.set()
        await reader.read()
        writer.close()

    server = await asyncio.start_unix_server(silent, tmp_path / "s.sock")
    client = SignerClient(str(tmp_path / "s.sock"))
    with pytest.raises(LedgerUnavailableError, match="TimeoutError"):
        await client.head()
    assert got.is_set()
    server.close()


@pytest.mark.parametrize(
    "answer", [b"\0\0\0\2[]", b"\xff\xff\xff\xff", b"\0\0\0\2{}", b""]
)
async def test_an_answer_that_makes_no_sense_is_no_answer(tmp_path, answer):
    async def odd(reader, writer):
        await reader.read(4)
        writer.write(answer)
        writer.close()

    server = await asyncio.start_unix_server(odd, tmp_path / "s.sock")
    client = SignerClient(str(tmp_path / "s.sock"))
    with pytest.raises(LedgerUnavailableError, match="signer"):
        await client.head()
    await client.close()
    server.close()


async def test_a_fake_signer_says_what_the_real_one_says(client):
    fake = await FakeSigner().head()
    true = await client.head()
    assert (fake.last.size, fake.former) == (true.last.size, true.former)
