"""The log's contract, kept by PostgreSQL and by the fake alike."""

from __future__ import annotations

import asyncio

import asyncpg
import pytest

from broker.core.transparency.checkpoint import open_checkpoint
from broker.core.transparency.entry_leaf import EntryError
from broker.core.transparency.merkle import leaf_hash, root_of
from broker.core.transparency.tlog_proof import check_tlog_proof
from broker.core.words.errors import LedgerUnavailableError
from broker.effects.ledger import SqlCall
from broker.effects.ledger.jobs import LEAVES_MAX
from tests.support.log.ledger import FakeLedger, RealLedger
from tests.support.log.made import LOG, entry_id, entry_key, leaf


# A sync fixture, because making the template database runs a loop of its own.
@pytest.fixture(params=["fake", "postgres"])
def lent_log(request):
    return request.getfixturevalue("pg_database") if request.param != "fake" else None


@pytest.fixture
async def log(lent_log):
    if lent_log is None:
        yield FakeLedger()
        return
    async with RealLedger(lent_log).open() as real:
        await real.add_functions()
        yield real


def flipped(data: bytes) -> bytes:
    """Change one character of a leaf's signature."""
    at = data.rindex(b'"signature":"') + 20
    other = b"A" if data[at : at + 1] != b"A" else b"B"
    return data[:at] + other + data[at + 1 :]


async def problem(work) -> str:
    with pytest.raises(EntryError) as caught:
        await work
    return caught.value.problem


async def test_entries_get_places_without_gaps_in_the_order_they_were_handed_in(log):
    first = await log.ledger.append([leaf(0), leaf(1)])
    second = await log.ledger.append([leaf(2)])
    places = [*first, *second]
    assert [place.seq for place in places] == [0, 1, 2]
    assert [place.entry_id for place in places] == [entry_id(n) for n in range(3)]
    assert [place.leaf_hash for place in places] == [
        leaf_hash(leaf(n)) for n in range(3)
    ]


async def test_the_bytes_handed_in_are_the_bytes_kept(log):
    await log.ledger.append([leaf(n) for n in range(5)])
    assert [await log.bytes_at(n) for n in range(5)] == [leaf(n) for n in range(5)]


async def test_many_callers_at_once_get_one_place_each(log):
    places = await asyncio.gather(*(log.ledger.append([leaf(n)]) for n in range(150)))
    assert sorted(place.seq for (place,) in places) == list(range(150))
    for (place,) in places:
        assert leaf_hash(await log.bytes_at(place.seq)) == place.leaf_hash


async def test_the_same_entry_handed_in_again_has_the_place_it_has(log):
    await log.ledger.append([leaf(0)])
    (first,) = await log.ledger.append([leaf(1)])
    assert await log.ledger.append([leaf(1)]) == (first,)
    again = await asyncio.gather(*(log.ledger.append([leaf(1)]) for _ in range(5)))
    assert set(again) == {(first,)}
    (after,) = await log.ledger.append([leaf(2)])
    assert after.seq == 2


async def test_another_entry_with_a_known_id_is_refused_and_changes_nothing(log):
    await log.ledger.append([leaf(0)])
    other = leaf(0, detail="another")
    assert await problem(log.ledger.append([other])) == "duplicate"
    assert await problem(log.ledger.append([leaf(1), other])) == "duplicate"
    (after,) = await log.ledger.append([leaf(1)])
    assert after.seq == 1


async def test_what_is_not_signed_by_an_entry_key_is_refused(log):
    assert await problem(log.ledger.append([flipped(leaf(0))])) == "bad_signature"
    stranger = leaf(0, key=entry_key("stranger"))
    assert await problem(log.ledger.append([stranger])) == "unknown_key"
    assert await problem(log.ledger.append([leaf(0), b"{}"])) == "malformed"
    (after,) = await log.ledger.append([leaf(0)])
    assert after.seq == 0


async def test_a_staged_entry_is_integrated_once_however_often_it_is_asked_for(log):
    await log.stage(leaf(0), as_id=entry_id(0))
    (place,) = await log.ledger.integrate([entry_id(0)])
    assert (place.seq, place.entry_id) == (0, entry_id(0))
    assert await log.ledger.integrate([entry_id(0)]) == (place,)
    assert await log.bytes_at(0) == leaf(0)
    (after,) = await log.ledger.append([leaf(1)])
    assert after.seq == 1


async def test_staged_entries_that_nobody_asks_for_are_taken_along(log):
    for number in range(3):
        await log.stage(leaf(number), as_id=entry_id(number))
    (place,) = await log.ledger.integrate([entry_id(2)])
    assert place.seq == 2
    places = await log.ledger.integrate([entry_id(0), entry_id(1)])
    assert [each.seq for each in places] == [0, 1]


async def test_a_sweep_integrates_what_was_left_behind(log):
    await log.stage(leaf(0), as_id=entry_id(0))
    await log.ledger.sweep()
    assert await log.bytes_at(0) == leaf(0)


async def test_an_entry_that_was_never_staged_is_missing(log):
    assert await problem(log.ledger.integrate([entry_id(7)])) == "missing"


async def test_a_staged_row_that_is_no_entry_is_put_aside_and_blocks_nobody(log):
    await log.stage(flipped(leaf(0)), as_id=entry_id(0))
    await log.stage(leaf(1), as_id=entry_id(5))
    await log.stage(leaf(2), as_id=entry_id(2))
    (place,) = await log.ledger.integrate([entry_id(2)])
    assert place.seq == 0
    assert log.alarm.words == ["ledger_entry_refused", "ledger_entry_refused"]
    assert {fields["entry_id"] for _, fields in log.alarm.told} == {
        entry_id(0),
        entry_id(5),
    }


async def test_a_staged_row_under_the_id_of_another_entry_is_put_aside(log):
    await log.ledger.append([leaf(0)])
    await log.stage(leaf(0, detail="another"), as_id=entry_id(0))
    await log.ledger.sweep()
    await log.ledger.sweep()
    assert await log.bytes_at(0) == leaf(0)
    (after,) = await log.ledger.append([leaf(1)])
    assert after.seq == 1


async def test_an_entry_whose_key_is_not_known_yet_waits_and_is_not_put_aside(log):
    late = entry_key("late")
    await log.stage(leaf(0, key=late), as_id=entry_id(0))
    with pytest.raises(EntryError):
        await log.ledger.integrate([entry_id(0)])
    log.keys[late.kid] = late.public()
    (place,) = await log.ledger.integrate([entry_id(0)])
    assert place.seq == 0


async def test_rows_of_the_callers_own_are_stored_with_its_entries(log):
    placed = await log.ledger.append_with([leaf(0)], SqlCall("rows_all", (7,)))
    assert [place.seq for place in placed] == [0]
    assert await log.rows() == {7}


async def test_rows_of_many_callers_at_once_are_stored_once_each(log):
    placed = await asyncio.gather(
        *(
            log.ledger.append_with([leaf(n)], SqlCall("rows_all", (n,)))
            for n in range(60)
        )
    )
    assert sorted(place.seq for (place,) in placed) == list(range(60))
    assert await log.rows() == set(range(60))


async def test_where_no_row_was_stored_no_entry_is_recorded(log):
    placed = await asyncio.gather(
        *(
            log.ledger.append_with([leaf(n)], SqlCall("rows_even", (n,)))
            for n in range(20)
        )
    )
    assert [each is not None for each in placed] == [n % 2 == 0 for n in range(20)]
    assert sorted(each[0].seq for each in placed if each) == list(range(10))
    assert await log.rows() == set(range(0, 20, 2))


async def test_one_callers_bad_row_costs_nobody_else_anything(log):
    await log.ledger.append_with([leaf(100)], SqlCall("rows_all", (13,)))
    answers = await asyncio.gather(
        *(
            log.ledger.append_with([leaf(n)], SqlCall("rows_all", (n,)))
            for n in range(30)
        ),
        return_exceptions=True,
    )
    refused = [n for n, each in enumerate(answers) if isinstance(each, Exception)]
    assert refused == [13]
    assert isinstance(answers[13], asyncpg.UniqueViolationError)
    assert await log.rows() == set(range(30))
    (after,) = await log.ledger.append([leaf(200)])
    assert after.seq == 30


async def test_rows_and_entries_handed_in_again_after_a_lost_answer_are_there_once(log):
    call = SqlCall("rows_all", (7,))
    first = await log.ledger.append_with([leaf(0)], call)
    assert await log.ledger.append_with([leaf(0)], call) == first
    assert await log.rows() == {7}


async def test_a_call_that_says_no_because_it_was_made_before_is_no_refusal(log):
    first = await log.ledger.append_with([leaf(0)], SqlCall("rows_even", (2,)))
    # As a finished action says no to being finished again.
    again = await log.ledger.append_with([leaf(0)], SqlCall("rows_even", (3,)))
    assert again == first


async def test_rows_may_come_without_entries(log):
    assert await log.ledger.append_with([], SqlCall("rows_even", (2,))) == ()
    assert await log.ledger.append_with([], SqlCall("rows_even", (3,))) is None
    assert await log.rows() == {2}


async def test_a_checkpoint_covers_the_log_and_proves_every_entry_of_it(log):
    leaves = [leaf(n) for n in range(9)]
    await log.ledger.append(leaves)
    await log.keeper.keep_up()
    head, note = log.keeper.newest
    assert head.size == 9
    assert head.root == root_of(leaf_hash(each) for each in leaves)
    assert open_checkpoint(note, LOG) == head
    for seq, each in enumerate(leaves):
        proof = await log.keeper.proof(seq)
        assert check_tlog_proof(proof, leaf=each, log=LOG) == head
    assert log.keeper.lag_s() == 0


async def test_an_entry_is_provable_as_soon_as_it_is_asked_for(log):
    for number in range(3):
        await log.ledger.append([leaf(number)])
        proof = await log.keeper.proof(number)
        assert check_tlog_proof(proof, leaf=leaf(number), log=LOG).size == number + 1


async def test_an_entry_beyond_the_log_has_no_proof(log):
    await log.ledger.append([leaf(0)])
    with pytest.raises(LedgerUnavailableError, match="no checkpoint covers entry 1"):
        await log.keeper.proof(1)


async def test_a_job_has_a_largest_number_of_entries(log):
    leaves = [leaf(n) for n in range(LEAVES_MAX)]
    assert len(await log.ledger.append(leaves)) == LEAVES_MAX
    with pytest.raises(ValueError, match="entries at a time"):
        await log.ledger.append([*leaves, leaf(LEAVES_MAX)])
    for ids in ([], [entry_id(n) for n in range(LEAVES_MAX + 1)]):
        with pytest.raises(ValueError, match="entries at a time"):
            await log.ledger.integrate(ids)
    everything = [entry_id(n) for n in range(LEAVES_MAX)]
    assert len(await log.ledger.integrate(everything)) == LEAVES_MAX
