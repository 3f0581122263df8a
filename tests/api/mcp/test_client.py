"""The official client, unmodified, in both ways that it connects."""

from __future__ import annotations

import pytest
from mcp.shared.exceptions import MCPError

from broker import flow
from tests.support.approvals.voters import LARGE, PAID_PLENTY, approve
from tests.support.flow.executor import CARD, ORDER
from tests.support.mcp.house import NEW, OLD, McpHouse
from tests.support.mcp.scenario import refund_through_approval

REFUND = {
    "order_id": ORDER,
    "amount_minor_units": LARGE,
    "currency": "USD",
    "payment_method_id": CARD,
}
MODES = {"auto": NEW, "legacy": OLD}


@pytest.mark.parametrize("mode", MODES)
async def test_an_unmodified_client_gets_a_refund_through_approval(
    api: McpHouse, mode: str
) -> None:
    house = api.house
    house.executor.paid = PAID_PLENTY
    interaction = await house.interaction()

    async def approved(action_id: str) -> None:
        record = await house.ports.store.action(action_id)
        assert record is not None
        await approve(house, "alice", record.approval_id)
        await flow.settle(house.ports, action_id)

    async with api.client(interaction, mode=mode) as client:
        assert client.protocol_version == MODES[mode]
        assert client.server_info is not None
        assert client.server_info.name == "counterfoil"
        state = await refund_through_approval(client, REFUND, approve=approved)
    assert state["result"]["amount_minor_units"] == LARGE
    assert house.executor.amounts() == [LARGE]


@pytest.mark.parametrize("mode", MODES)
async def test_a_client_is_told_which_argument_is_wrong(
    api: McpHouse, mode: str
) -> None:
    interaction = await api.house.interaction()
    async with api.client(interaction, mode=mode) as client:
        with pytest.raises(MCPError, match="/amount_minor_units") as caught:
            await client.call_tool("orders_refund", REFUND | {"amount_minor_units": 0})
    assert caught.value.error.code == -32602
    assert caught.value.error.data["pointer"] == "/arguments/amount_minor_units"


@pytest.mark.parametrize("mode", MODES)
async def test_a_denial_is_a_result_that_the_model_sees(
    api: McpHouse, mode: str
) -> None:
    interaction = await api.house.interaction()
    async with api.client(interaction, mode=mode) as client:
        result = await client.call_tool("orders_get", {"order_id": "W0000001"})
    assert result.is_error
    assert result.structured_content["status"] == "refused"
    assert result.structured_content["reasons"] == [{"code": "object_not_shown"}]
