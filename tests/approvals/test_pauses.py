"""What people signed for and could not be sent: tried again, ever less often."""

from __future__ import annotations

from broker import flow, sweeper
from broker.core.words.action import ActionState
from tests.support.approvals.voters import LARGE, approve, large_refund, state_of
from tests.support.flow.house import House


async def pause_s(house: House, action_id: str) -> float:
    """Return how long an action is left from its last change on."""
    return float(
        await house.database.value(
            "SELECT extract(epoch FROM lease_until - updated_at)::float8 FROM action"
            " WHERE action_id = $1",
            action_id,
        )
    )


async def test_a_connector_that_always_fails_is_run_after_pauses_that_double(
    house: House,
) -> None:
    record = await large_refund(house)
    action_id = record.request.action_id
    await approve(house, "alice", record.approval_id)
    house.executor.fault = "before_send"
    await flow.settle(house.ports, action_id)
    pauses = [await pause_s(house, action_id)]
    for _ in range(3):
        await house.lapse()
        await sweeper.interrupted(house.ports)
        pauses.append(await pause_s(house, action_id))
    assert pauses == [20, 40, 80, 160]

    runs = len(house.executor.runs)
    await sweeper.interrupted(house.ports)
    await flow.settle(house.ports, action_id)
    assert len(house.executor.runs) == runs, "it was run before its pause was over"

    house.executor.fault = ""
    await house.lapse()
    await sweeper.interrupted(house.ports)
    assert await state_of(house, record) is ActionState.DONE
    assert house.executor.amounts() == [LARGE]
