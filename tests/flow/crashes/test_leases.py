"""A claim lasts longer than its call: nobody takes over what is still at work."""

from __future__ import annotations

import asyncio
import contextlib
from math import ceil
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from broker import flow, sweeper
from broker.core.words.action import ActionState
from broker.effects.executor import RUN_GRACE_S
from broker.effects.keeping.rows import LEASE_SLACK_S, lease_s
from broker.effects.runner.line import CONNECT_S_MAX, PLACE_S_MAX
from broker.registry.tools import TIMEOUT_S_MAX
from tests.support.approvals.voters import LARGE, approve

if TYPE_CHECKING:
    from tests.support.flow.house import House

LEFT = """
SELECT extract(epoch FROM lease_until - updated_at)::float AS lease_s, state
  FROM action WHERE tool = 'orders.refund'
"""


@pytest.mark.parametrize("timeout_s", [1, 14, 15, TIMEOUT_S_MAX])
def test_a_lease_is_longer_than_the_longest_call(timeout_s: int) -> None:
    tool: Any = SimpleNamespace(timeout_s=timeout_s)
    longest_s = PLACE_S_MAX + CONNECT_S_MAX + timeout_s + RUN_GRACE_S
    assert lease_s(tool) >= longest_s + LEASE_SLACK_S


def test_a_tool_that_is_gone_is_taken_for_the_slowest() -> None:
    tool: Any = SimpleNamespace(timeout_s=TIMEOUT_S_MAX)
    assert lease_s(None) == lease_s(tool)


@pytest.mark.parametrize("amount", [1_000, LARGE])
async def test_every_claim_of_an_action_outlasts_its_tools_call(
    house: House, amount: int
) -> None:
    interaction = await house.interaction()
    await house.read_order(interaction)
    tool = house.ports.shelf.tool("orders.refund")
    assert tool is not None
    least_s = tool.timeout_s + ceil(RUN_GRACE_S)
    house.executor.dies = True
    with contextlib.suppress(asyncio.CancelledError):
        answer = await flow.submit(house.ports, house.refund(interaction, amount))
        assert answer.record is not None
        await approve(house, "alice", answer.record.approval_id)
        await flow.settle(house.ports, answer.record.request.action_id)
    for _ in range(2):
        # As it was claimed first, and after it was taken over and given a new warrant.
        row = await house.database.row(LEFT)
        assert row is not None
        assert row["state"] == ActionState.EXECUTING
        assert row["lease_s"] > least_s
        await house.lapse()
        with contextlib.suppress(asyncio.CancelledError):
            await sweeper.interrupted(house.ports)
