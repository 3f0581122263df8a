"""The run of an approval: from the question to the end of its action."""

from __future__ import annotations

import asyncio

from broker.approving import ending
from broker.core.words.action import ActionState
from broker.core.words.approval import ApprovalState
from tests.support.approvals.timekeeping import Stage, until
from tests.support.approvals.voters import (
    LARGE,
    VERY_LARGE,
    approve,
    large_refund,
    reject,
    state_of,
)


async def expires_in(stage: Stage, approval_id: str, seconds: float) -> None:
    """Move the expiry of an approval."""
    async with stage.house.admin() as owner:
        await owner.execute(
            "UPDATE approval SET expires_at = clock_timestamp()"
            " + $2 * interval '1 second' WHERE approval_id = $1",
            approval_id,
            seconds,
        )


async def test_an_approved_refund_is_settled_by_its_run_exactly_once(
    stage: Stage,
) -> None:
    record = await large_refund(stage.house)
    async with stage.everything():
        await approve(stage.house, "alice", record.approval_id)
        assert await stage.result(record.approval_id) == "done"

        async def quiet() -> bool:
            await stage.overdue()
            return await stage.unsent() == []

        await until(quiet)
    assert stage.house.executor.amounts() == [LARGE]
    found = await stage.house.ports.desk.find(record.approval_id)
    assert found is not None
    assert found.state is ApprovalState.APPROVED


async def test_a_start_is_done_only_once_the_run_has_asked(stage: Stage) -> None:
    record = await large_refund(stage.house)
    async with stage.sending():
        await until(lambda: _started(stage, record.approval_id))
    await stage.overdue()
    await stage.outbox.send_due()
    assert await stage.unsent() == ["start"]
    async with stage.worker():
        await until(lambda: _asked(stage, record.approval_id))
        await stage.overdue()
        await stage.outbox.send_due()
        assert await stage.unsent() == []


async def _started(stage: Stage, approval_id: str) -> bool:
    found = [
        w async for w in stage.client.list_workflows(f"WorkflowId='{approval_id}'")
    ]
    return bool(found)


async def _asked(stage: Stage, approval_id: str) -> bool:
    async with stage.house.admin() as owner:
        return bool(
            await owner.fetchval(
                "SELECT started_at IS NOT NULL FROM approval WHERE approval_id = $1",
                approval_id,
            )
        )


async def test_two_signatures_are_waited_for(stage: Stage) -> None:
    record = await large_refund(stage.house, VERY_LARGE)
    async with stage.everything():
        await approve(stage.house, "alice", record.approval_id)
        await until(lambda: _asked(stage, record.approval_id))
        await asyncio.sleep(0.5)
        assert await state_of(stage.house, record) is ActionState.PENDING_APPROVAL
        await approve(stage.house, "bob", record.approval_id)
        assert await stage.result(record.approval_id) == "done"
    assert stage.house.executor.amounts() == [VERY_LARGE]


async def test_a_rejection_ends_the_run_at_once(stage: Stage) -> None:
    record = await large_refund(stage.house)
    async with stage.everything():
        await until(lambda: _asked(stage, record.approval_id))
        await reject(stage.house, "alice", record.approval_id, reason="no")
        assert await stage.result(record.approval_id) == "refused"
    assert stage.house.executor.amounts() == []


async def test_a_withdrawal_ends_the_run_at_once(stage: Stage) -> None:
    record = await large_refund(stage.house)
    async with stage.everything():
        await until(lambda: _asked(stage, record.approval_id))
        await ending.withdraw(stage.house.ports, record)
        assert await stage.result(record.approval_id) == "cancelled"


async def test_the_run_expires_what_nobody_signs(stage: Stage) -> None:
    record = await large_refund(stage.house)
    await expires_in(stage, record.approval_id, 1.2)
    async with stage.everything():
        assert await stage.result(record.approval_id) == "expired"
    assert await state_of(stage.house, record) is ActionState.EXPIRED
    assert await stage.house.held() == 0


async def test_the_sweeper_expires_what_temporal_could_not(stage: Stage) -> None:
    record = await large_refund(stage.house)
    await expires_in(stage, record.approval_id, 0)
    assert await ending.expire_due(stage.house.ports) == 1
    async with stage.everything():
        assert await stage.result(record.approval_id) == "expired"


async def test_an_executor_that_is_away_is_asked_again_until_it_is_back(
    stage: Stage,
) -> None:
    record = await large_refund(stage.house)
    stage.house.executor.down = True
    async with stage.everything():
        await approve(stage.house, "alice", record.approval_id)

        async def tried() -> bool:
            tries = [what for what, _ in stage.broker.calls if what == "settle"]
            return len(tries) > 1

        await until(tried)
        assert stage.house.executor.amounts() == []
        stage.house.executor.down = False
        assert await stage.result(record.approval_id) == "done"
    assert stage.house.executor.amounts() == [LARGE]


async def test_brokers_that_are_all_away_only_delay_it(stage: Stage) -> None:
    record = await large_refund(stage.house)
    stage.broker.away = True
    async with stage.everything():
        await approve(stage.house, "alice", record.approval_id)

        async def tried() -> bool:
            return len(stage.broker.calls) > 1

        await until(tried)
        stage.broker.away = False
        assert await stage.result(record.approval_id) == "done"


async def test_an_unknown_outcome_ends_the_run_and_keeps_the_money_held(
    stage: Stage,
) -> None:
    record = await large_refund(stage.house)
    stage.house.executor.fault = "no_answer"
    async with stage.everything():
        await approve(stage.house, "alice", record.approval_id)
        assert await stage.result(record.approval_id) == "unknown"
    assert await stage.house.held() == LARGE


async def test_twenty_approvals_at_once_are_settled_once_each(stage: Stage) -> None:
    amounts = [6_000 + n for n in range(20)]
    records = [await large_refund(stage.house, amount) for amount in amounts]
    async with stage.worker(), stage.worker(), stage.sending():
        await asyncio.gather(
            *(approve(stage.house, "alice", r.approval_id) for r in records)
        )
        results = await asyncio.gather(
            *(stage.result(record.approval_id) for record in records)
        )
    assert set(results) == {"done"}
    assert sorted(stage.house.executor.amounts()) == amounts
