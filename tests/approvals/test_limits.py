"""Every limit of approvals, at the limit and one past it."""

from __future__ import annotations

import asyncio

import pytest

from broker.approving import listing, voting
from broker.approving.ending import EXPIRED_AT_ONCE_MAX
from broker.approving.listing import PAGE_MAX
from broker.approving.voting import CAST_TRIES_MAX
from broker.core.words.approval import VoteWord
from broker.core.words.errors import UnavailableError
from broker.effects.votes import NAME_PARTS_MAX, VOTES_MAX
from tests.support.approvals.voters import (
    VERY_LARGE,
    approve,
    large_refund,
    look_and_sign,
    voter,
)
from tests.support.flow.house import House

COPY = """
WITH copied AS (
  INSERT INTO action SELECT (jsonb_populate_record(a, jsonb_build_object(
    'action_id', uuidv7(), 'approval_id', uuidv7(), 'dedupe', NULL))).*
    FROM action a, generate_series(1, $1) WHERE a.approval_id IS NOT NULL
  RETURNING action_id, approval_id)
INSERT INTO approval SELECT c.approval_id, c.action_id, b.digest, b.approvers_min,
  b.role, b.barred, b.amount, b.currency, b.state, b.created_at, b.expires_at
  FROM copied c, approval b
"""
FORGE = """
INSERT INTO vote SELECT uuidv7(), approval_id, $1, 'approve',
  (SELECT payload_id FROM payload LIMIT 1), now() - interval '1 hour'
  FROM approval, generate_series(1, $2)
"""


async def test_a_list_shows_so_many_and_no_more(house: House) -> None:
    await large_refund(house)
    async with house.admin() as owner:
        await owner.execute(COPY, PAGE_MAX - 1)
    who = voter(house, "alice")
    assert len(await listing.pending(house.ports, who)) == PAGE_MAX
    async with house.admin() as owner:
        await owner.execute(
            "UPDATE approval SET expires_at = now() + interval '1 minute'"
            " WHERE approval_id = (SELECT approval_id FROM approval LIMIT 1)"
        )
        await owner.execute(
            "UPDATE approval_seat s SET expires_at = b.expires_at FROM approval b"
            " WHERE b.approval_id = s.approval_id"
        )
        await large_refund(house, 6_000)
    found = await listing.pending(house.ports, who)
    assert len(found) == PAGE_MAX
    assert found[0].desk.left_s <= 60


async def test_so_many_expire_at_once_and_the_rest_the_next_time(house: House) -> None:
    await large_refund(house)
    async with house.admin() as owner:
        await owner.execute(COPY, EXPIRED_AT_ONCE_MAX)
        await owner.execute("UPDATE approval SET expires_at = now()")
    due = await house.ports.desk.due(limit=EXPIRED_AT_ONCE_MAX)
    assert len(due) == EXPIRED_AT_ONCE_MAX
    assert len(await house.ports.desk.due(limit=EXPIRED_AT_ONCE_MAX + 1)) == (
        EXPIRED_AT_ONCE_MAX + 1
    )


async def test_a_flood_of_forged_rows_delays_a_vote_and_never_counts(
    house: House,
) -> None:
    record = await large_refund(house, VERY_LARGE)
    async with house.admin() as owner:
        await owner.execute(FORGE, "nobody", VOTES_MAX - 1)
    counted = await approve(house, "alice", record.approval_id)
    assert counted.approved == 1
    async with house.admin() as owner:
        await owner.execute(FORGE, "nobody", 2)
    signed = await look_and_sign(house, "bob", record.approval_id, VoteWord.APPROVE)
    with pytest.raises(UnavailableError, match="other votes"):
        await voting.cast(house.ports, voter(house, "bob"), record.approval_id, signed)
    _, seen = await house.ports.desk.votes(record.approval_id)
    assert len(seen) == VOTES_MAX


async def test_a_vote_is_counted_again_only_so_often(house: House) -> None:
    record = await large_refund(house, VERY_LARGE)
    signed = await look_and_sign(house, "alice", record.approval_id, VoteWord.APPROVE)
    forged = 0

    async def forge() -> None:
        nonlocal forged
        async with house.admin() as owner:
            while True:
                await owner.execute(FORGE, "nobody", 1)
                forged += 1
                await asyncio.sleep(0)

    busy = asyncio.create_task(forge())
    who = voter(house, "alice")
    try:
        await voting.cast(house.ports, who, record.approval_id, signed)
    except UnavailableError:
        assert forged >= CAST_TRIES_MAX
    finally:
        busy.cancel()
        await asyncio.gather(busy, return_exceptions=True)
    votes, _ = await house.ports.desk.votes(record.approval_id)
    assert len(votes) <= 1


async def test_a_name_has_so_many_parts(house: House) -> None:
    record = await large_refund(house)
    where = record.request.interaction_id
    async with house.admin() as owner:
        await owner.execute(
            "INSERT INTO released_value SELECT interaction_id, lookup || n, action_id,"
            " '/name/first_name' || n, kind, data_class, integrity, confidentiality,"
            " source FROM released_value, generate_series(1, $1) n"
            " WHERE pointer = '/name/first_name'",
            NAME_PARTS_MAX,
        )
    assert await house.ports.desk.name(where) == "Noah"
