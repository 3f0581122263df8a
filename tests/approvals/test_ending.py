"""How an approval ends: by votes, by the clock, by the agent; once, whoever races."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING

import pytest

from broker import flow
from broker.approving import ending, voting
from broker.core.words.action import ENDED, ActionState
from broker.core.words.approval import ApprovalState, VoteWord
from broker.core.words.errors import BrokerError, ConflictError
from tests.support.approvals.voters import (
    LARGE,
    VERY_LARGE,
    approve,
    large_refund,
    look_and_sign,
    state_of,
    voter,
)
from tests.support.flow.house import House

if TYPE_CHECKING:
    from broker.core.words.action import ActionRecord


async def expires_in(house: House, record: ActionRecord, seconds: float) -> None:
    """Move the database's clock of this approval, as waiting would.

    An approval that waited no whole second is none, so it was asked an hour before.
    """
    async with house.admin() as owner:
        await owner.execute(
            "UPDATE approval SET created_at = clock_timestamp() - interval '1 hour',"
            " expires_at = clock_timestamp() + $2 * interval '1 second'"
            " WHERE approval_id = $1",
            record.approval_id,
            seconds,
        )


async def ends(house: House, record: ActionRecord) -> list[str]:
    """Return the entries that end an approval or its action without executing it."""
    kinds = [e["kind"] for e in await house.entries(record.request.action_id)]
    return [kind for kind in kinds if kind in {"approve.ended", "record.outcome"}]


async def test_what_nobody_signs_in_time_expires_and_gives_its_money_back(
    house: House,
) -> None:
    record = await large_refund(house)
    assert await ending.expire_due(house.ports) == 0
    await expires_in(house, record, 0)
    with pytest.raises(ConflictError, match="expired"):
        await approve(house, "alice", record.approval_id)
    assert await ending.expire_due(house.ports) == 1
    assert await ending.expire_due(house.ports) == 0
    assert await state_of(house, record) is ActionState.EXPIRED
    assert await house.held() == 0
    assert await ends(house, record) == ["record.outcome"]
    found = await house.ports.desk.find(record.approval_id)
    assert found is not None
    assert found.state is ApprovalState.EXPIRED


async def test_the_worker_cannot_expire_what_still_has_time(house: House) -> None:
    record = await large_refund(house)
    await expires_in(house, record, 5)
    found = await ending.expire(house.ports, record.approval_id)
    assert found.state is ApprovalState.PENDING
    assert 0 < found.left_s <= 5
    assert await state_of(house, record) is ActionState.PENDING_APPROVAL
    await expires_in(house, record, 0)
    found = await ending.expire(house.ports, record.approval_id)
    assert found.state is ApprovalState.EXPIRED
    assert found.action_state is ActionState.EXPIRED


async def test_the_brokers_clock_alone_expires_nothing(house: House) -> None:
    record = await large_refund(house)
    stored = await house.ports.store.action(record.request.action_id)
    assert stored is not None
    # As if a broker whose clock runs ahead had come to think so.
    await ending._expired(house.ports, record.request.action_id)  # noqa: SLF001
    assert await state_of(house, record) is ActionState.PENDING_APPROVAL


@pytest.mark.parametrize("seed", range(6))
async def test_yes_no_and_expiry_that_race_at_the_deadline_have_one_winner(
    house: House, other: House, seed: int
) -> None:
    record = await large_refund(house)
    approval_id, action_id = record.approval_id, record.request.action_id
    yes = await look_and_sign(house, "alice", approval_id, VoteWord.APPROVE)
    no = await look_and_sign(house, "bob", approval_id, VoteWord.REJECT)
    await expires_in(house, record, 0.03)
    dice = random.Random(seed)

    async def later(work: object) -> object:
        await asyncio.sleep(dice.uniform(0, 0.06))
        return await work  # type: ignore[misc]

    cast = voting.cast
    await asyncio.gather(
        later(cast(house.ports, voter(house, "alice"), approval_id, yes)),
        later(cast(other.ports, voter(other, "bob"), approval_id, no)),
        *(later(ending.expire_due(place.ports)) for place in (house, other) * 3),
        *(later(flow.settle(place.ports, action_id)) for place in (house, other) * 2),
        return_exceptions=True,
    )
    await asyncio.sleep(0.1)
    await ending.expire_due(house.ports)
    after = await flow.settle(house.ports, action_id)
    found = await house.ports.desk.find(approval_id)
    assert after is not None
    assert found is not None
    assert after.state in ENDED
    moved = house.executor.amounts() + other.executor.amounts()
    match found.state:
        case ApprovalState.APPROVED:
            assert (after.state, moved) == (ActionState.DONE, [LARGE])
            assert await ends(house, record) == ["approve.ended", "record.outcome"]
        case ApprovalState.REJECTED:
            assert (after.state, moved) == (ActionState.REFUSED, [])
            assert await ends(house, record) == ["record.outcome"]
        case ApprovalState.EXPIRED:
            assert (after.state, moved) == (ActionState.EXPIRED, [])
            assert await ends(house, record) == ["record.outcome"]
        case _:
            pytest.fail(f"{found.state} is no end")
    assert await house.held() == 0


async def test_an_agent_withdraws_what_waits_but_not_what_was_sent(
    house: House,
) -> None:
    record = await large_refund(house)
    assert await ending.withdraw(house.ports, record)
    assert not await ending.withdraw(house.ports, record)
    assert await state_of(house, record) is ActionState.CANCELLED
    assert await house.held() == 0
    with pytest.raises(ConflictError, match="withdrawn"):
        await approve(house, "alice", record.approval_id)

    sent = await large_refund(house, LARGE + 1)
    await approve(house, "alice", sent.approval_id)
    await flow.settle(house.ports, sent.request.action_id)
    assert not await ending.withdraw(house.ports, sent)
    assert await state_of(house, sent) is ActionState.DONE


async def test_an_approved_action_can_be_withdrawn_until_it_is_claimed(
    house: House,
) -> None:
    record = await large_refund(house)
    await approve(house, "alice", record.approval_id)
    assert await ending.withdraw(house.ports, record)
    await flow.settle(house.ports, record.request.action_id)
    assert house.executor.amounts() == []


async def test_a_withdrawal_that_races_with_the_last_vote_has_one_winner(
    house: House, other: House
) -> None:
    record = await large_refund(house)
    yes = await look_and_sign(house, "alice", record.approval_id, VoteWord.APPROVE)
    await asyncio.gather(
        voting.cast(house.ports, voter(house, "alice"), record.approval_id, yes),
        ending.withdraw(other.ports, record),
        flow.settle(house.ports, record.request.action_id),
        return_exceptions=True,
    )
    after = await flow.settle(house.ports, record.request.action_id)
    assert after is not None
    moved = house.executor.amounts()
    assert (after.state, moved) in [
        (ActionState.CANCELLED, []),
        (ActionState.DONE, [LARGE]),
    ]
    assert await house.held() == 0


async def test_settling_before_anybody_signed_does_nothing(house: House) -> None:
    record = await large_refund(house, VERY_LARGE)
    await approve(house, "alice", record.approval_id)
    for _ in range(3):
        after = await flow.settle(house.ports, record.request.action_id)
        assert after is not None
        assert after.state is ActionState.PENDING_APPROVAL
    assert house.executor.amounts() == []


async def test_every_end_leaves_one_message_for_temporal(house: House) -> None:
    approved = await large_refund(house)
    await approve(house, "alice", approved.approval_id)
    withdrawn = await large_refund(house, LARGE + 1)
    await ending.withdraw(house.ports, withdrawn)
    async with house.admin() as owner:
        found = await owner.fetch("SELECT kind, topic, key FROM outbox")
    told = {(row["kind"], str(row["topic"])) for row in found}
    assert told == {
        ("start", approved.approval_id),
        ("vote", approved.approval_id),
        ("start", withdrawn.approval_id),
        ("end", withdrawn.approval_id),
    }


async def test_a_vote_that_the_log_cannot_take_is_not_counted(house: House) -> None:
    record = await large_refund(house)
    signed = await look_and_sign(house, "alice", record.approval_id, VoteWord.APPROVE)

    class _AwayError(BrokerError):
        pass

    house.keeper.error = _AwayError("the signer is away")
    with pytest.raises(_AwayError):
        await voting.cast(
            house.ports, voter(house, "alice"), record.approval_id, signed
        )
    house.keeper.error = None
    assert await state_of(house, record) is ActionState.PENDING_APPROVAL
