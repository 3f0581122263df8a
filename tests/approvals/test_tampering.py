"""Writing to the database grants nothing: signatures count, rows do not."""

from __future__ import annotations

import asyncpg
import pytest

from broker import flow
from broker.approving import listing, voting
from broker.core.words.action import ActionState
from broker.core.words.approval import ApprovalState, VoteWord
from broker.core.words.errors import ApprovalStaleError, NotFoundError
from tests.support.approvals.voters import (
    LARGE,
    VERY_LARGE,
    approve,
    change_person,
    large_refund,
    look_and_sign,
    state_of,
    voter,
)
from tests.support.flow.house import AGENT_ID, PEOPLE, House
from tests.support.identities import key_of

SUSPENDED = {"status": "suspended"}


async def settled(house: House, action_id: str) -> tuple[ActionState, str]:
    """Settle; return the state and the code of what came of it."""
    after = await flow.settle(house.ports, action_id)
    assert after is not None
    return after.state, after.outcome.code if after.outcome else ""


async def test_marking_an_action_as_approved_executes_nothing(house: House) -> None:
    record = await large_refund(house)
    async with house.admin() as owner:
        await owner.execute("UPDATE approval SET state = 'approved'")
        await owner.execute(
            "UPDATE action SET state = 'ready' WHERE approval_id IS NOT NULL"
        )
    action_id = record.request.action_id
    assert await settled(house, action_id) == (ActionState.REFUSED, "approval_invalid")
    assert house.executor.amounts() == []
    assert await house.held() == 0


async def test_taking_the_approval_out_of_the_action_executes_nothing(
    house: House,
) -> None:
    record = await large_refund(house)
    async with house.admin() as owner:
        await owner.execute(
            "UPDATE action SET state = 'ready', approval_id = NULL, decision = 'permit'"
            " WHERE action_id = $1",
            record.request.action_id,
        )
    state, _ = await settled(house, record.request.action_id)
    assert state is ActionState.REFUSED
    assert house.executor.amounts() == []


@pytest.mark.parametrize(
    "change",
    [
        "approvers_min = 1",
        "barred = '{}'",
        "role = 'owner'",
        "amount = 1",
        "expires_at = now() + interval '100 years'",
        "created_at = now() - interval '100 years'",
    ],
)
async def test_loosening_the_columns_of_an_approval_loosens_nothing(
    house: House, change: str
) -> None:
    record = await large_refund(house, VERY_LARGE)
    async with house.admin() as owner:
        await owner.execute(f"UPDATE approval SET {change}")  # noqa: S608
    counted = await approve(house, "alice", record.approval_id)
    assert counted.state is ApprovalState.PENDING
    assert counted.approvers_min == 2
    async with house.admin() as owner:
        await owner.execute("UPDATE approval SET state = 'approved'")
        await owner.execute(
            "UPDATE action SET state = 'ready' WHERE approval_id IS NOT NULL"
        )
    action_id = record.request.action_id
    assert await settled(house, action_id) == (ActionState.REFUSED, "approval_invalid")


@pytest.mark.parametrize(
    "change",
    [
        "amount = -1",
        "currency = 'nonsense'",
        "role = ''",
        "expires_at = created_at",
        "digest = ''",
    ],
)
async def test_columns_that_make_no_sense_make_no_approval_and_hide_no_other(
    house: House, change: str
) -> None:
    record, other = await large_refund(house), await large_refund(house, LARGE + 1)
    await approve(house, "alice", record.approval_id)
    async with house.admin() as owner:
        await owner.execute(
            f"UPDATE approval SET {change} WHERE approval_id = $1",  # noqa: S608
            record.approval_id,
        )
    action_id = record.request.action_id
    state, _ = await settled(house, action_id)
    assert state is ActionState.REFUSED
    assert house.executor.amounts() == []
    listed = await listing.pending(house.ports, voter(house, "alice"))
    assert [one.desk.approval_id for one in listed] == [other.approval_id]


async def test_a_row_that_somebody_wrote_is_no_vote(house: House) -> None:
    record = await large_refund(house, VERY_LARGE)
    await approve(house, "alice", record.approval_id)
    async with house.admin() as owner:
        # Alice's own sealed vote, put down as Bob's, and once more as her own.
        await owner.execute(
            "INSERT INTO vote SELECT uuidv7(), approval_id, p, word, payload_id, at"
            " FROM vote, unnest($1::text[]) p",
            [PEOPLE["bob"], PEOPLE["alice"]],
        )
    votes, seen = await house.ports.desk.votes(record.approval_id)
    assert [v.person_id for v in votes] == [PEOPLE["alice"]]
    assert len(seen) == 3
    counted = await approve(house, "bob", record.approval_id)
    assert counted.state is ApprovalState.APPROVED
    assert counted.approved == 2


async def test_a_vote_cannot_be_copied_to_another_approval(house: House) -> None:
    one, two = await large_refund(house), await large_refund(house, LARGE + 1)
    await approve(house, "alice", one.approval_id)
    async with house.admin() as owner:
        await owner.execute(
            "INSERT INTO vote SELECT uuidv7(), $1, person_id, word, payload_id, at"
            " FROM vote",
            two.approval_id,
        )
        await owner.execute(
            "UPDATE action SET state = 'ready' WHERE action_id = $1",
            two.request.action_id,
        )
    assert (await house.ports.desk.votes(two.approval_id))[0] == ()
    state, code = await settled(house, two.request.action_id)
    assert (state, code) == (ActionState.REFUSED, "approval_invalid")


async def test_an_approval_cannot_be_pointed_at_another_action(house: House) -> None:
    small, large = await large_refund(house), await large_refund(house, VERY_LARGE)
    await approve(house, "alice", small.approval_id)
    async with house.admin() as owner:
        await owner.execute(
            "UPDATE action SET state = 'ready', approval_id = $1 WHERE action_id = $2",
            small.approval_id,
            large.request.action_id,
        )
    state, code = await settled(house, large.request.action_id)
    assert (state, code) == (ActionState.REFUSED, "approval_stale")
    assert house.executor.amounts() == []


async def test_the_broker_itself_can_write_no_vote_past_the_function(
    house: House,
) -> None:
    await large_refund(house)
    for statement in (
        "INSERT INTO vote SELECT uuidv7(), NULL, '', 'approve', NULL, now()",
        "UPDATE approval SET state = 'approved'",
        "UPDATE action SET state = 'ready'",
        "DELETE FROM vote",
    ):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await house.database.value(statement)


async def test_whoever_was_suspended_after_voting_does_not_count_any_more(
    house: House,
) -> None:
    record = await large_refund(house, VERY_LARGE)
    await approve(house, "alice", record.approval_id)
    await change_person(house, "alice", **SUSPENDED)
    counted = await approve(house, "bob", record.approval_id)
    assert (counted.state, counted.approved) == (ApprovalState.PENDING, 1)
    assert await state_of(house, record) is ActionState.PENDING_APPROVAL


@pytest.mark.parametrize(
    "change",
    [
        SUSPENDED,
        {"roles": ["security"]},
        {"approval_limits": {"USD": LARGE - 1}},
        {"approval_limits": {"EUR": LARGE}},
        {"keys": []},
    ],
)
async def test_whoever_lost_the_right_between_vote_and_execution_stops_it(
    house: House, change: dict[str, object]
) -> None:
    record = await large_refund(house)
    counted = await approve(house, "alice", record.approval_id)
    assert counted.state is ApprovalState.APPROVED
    await change_person(house, "alice", **change)
    action_id = record.request.action_id
    assert await settled(house, action_id) == (ActionState.REFUSED, "approval_invalid")
    assert house.executor.amounts() == []


async def test_a_key_that_was_replaced_in_good_order_keeps_its_votes(
    house: House,
) -> None:
    record = await large_refund(house)
    await approve(house, "alice", record.approval_id)
    row = await house.registry.get("person", PEOPLE["alice"])
    assert row is not None
    ended = "2099-01-01T00:00:00.000000Z"
    keys = [slot | {"not_after": ended} for slot in row.body["keys"]]
    await change_person(house, "alice", keys=keys)
    state, _ = await settled(house, record.request.action_id)
    assert state is ActionState.DONE


async def test_a_key_that_was_no_longer_valid_signs_nothing(house: House) -> None:
    record = await large_refund(house)
    row = await house.registry.get("person", PEOPLE["alice"])
    assert row is not None
    ended = "2020-01-01T00:00:00.000000Z"
    keys = [slot | {"not_after": ended} for slot in row.body["keys"]]
    await change_person(house, "alice", keys=keys)
    with pytest.raises(Exception, match="not valid when"):
        await approve(house, "alice", record.approval_id)


async def test_a_revoked_agents_action_has_nothing_left_to_sign(house: House) -> None:
    record = await large_refund(house)
    signed = await look_and_sign(house, "alice", record.approval_id, VoteWord.APPROVE)
    await house.revoke(f"agent:{AGENT_ID}")
    who = voter(house, "alice")
    with pytest.raises(ApprovalStaleError, match="revoked"):
        await voting.cast(house.ports, who, record.approval_id, signed)
    assert await state_of(house, record) is ActionState.REFUSED
    assert await house.held() == 0


async def test_an_approval_that_an_intruder_made_is_none(house: House) -> None:
    record = await large_refund(house)
    forged = house.ports.ids.new()
    async with house.admin() as owner:
        await owner.execute(
            "INSERT INTO approval SELECT $1, action_id, digest, approvers_min, role,"
            " barred, amount, currency, 'pending', created_at, expires_at FROM approval"
            " WHERE approval_id = $2",
            forged,
            record.approval_id,
        )
    with pytest.raises(NotFoundError):
        await voting.card(house.ports, voter(house, "alice"), forged)


async def test_a_vote_under_a_key_that_nobody_registered_does_not_count_at_settle(
    house: House,
) -> None:
    record = await large_refund(house)
    await approve(house, "alice", record.approval_id)
    row = await house.registry.get("person", PEOPLE["alice"])
    assert row is not None
    other = await house.registry.get("person", PEOPLE["bob"])
    assert other is not None
    assert key_of("alice").kid not in str(other.body["keys"])
    await change_person(house, "alice", keys=other.body["keys"])
    state, code = await settled(house, record.request.action_id)
    assert (state, code) == (ActionState.REFUSED, "approval_invalid")
