"""On a real stack, what an agent did is taken back after the agent was revoked."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from broker.cli.demo.command import Teller, fresh_stack
from broker.cli.demo.story import waiting
from broker.cli.demo.world import ORDER, PAYEE, open_world
from broker.cli.stack.running import running
from broker.client.answers import RefusedError

if TYPE_CHECKING:
    from pathlib import Path

AMOUNT = 1_234


async def hijacked_and_undone(base_url: str, crm_url: str, state: Path) -> None:
    async with open_world(state, base_url=base_url, crm_url=crm_url) as world:
        interaction = await world.conversation()
        for tool, arguments in (
            ("customers.get", {}),
            ("orders.get", {"order_id": ORDER}),
        ):
            read = await world.agent.act(tool, arguments, interaction=interaction)
            assert read.checked()["status"] == "done"
        refund = {
            "order_id": ORDER,
            "amount_minor_units": AMOUNT,
            "currency": "USD",
            "payment_method_id": PAYEE,
        }
        made = await world.agent.act("orders.refund", refund, interaction=interaction)
        assert made.checked()["status"] == "done"
        action = str(made.body["action_id"])
        await world.carol.change_agent(world.agent_id, "revoke", {"reason": "hijacked"})
        with pytest.raises(RefusedError, match="invalid_client"):
            await world.agent.act(
                "orders.refund",
                refund | {"amount_minor_units": 1},
                interaction=interaction,
            )
        asked = await world.carol.undo(action, reason="the agent was hijacked")
        assert asked.status == 202, asked.body
        undo = str(asked.body["action_id"])
        approval = await waiting(world, undo)
        (await world.alice.vote(approval, "approve")).checked()
        for _ in range(300):
            reversed_ = [
                one for one in await world.shop.journal() if one["kind"] == "reversal"
            ]
            if reversed_:
                break
            await asyncio.sleep(0.1)
        [one] = reversed_
        assert (one["object"], one["amount_minor_units"]) == (ORDER, AMOUNT)


def test_what_a_hijacked_agent_refunded_is_taken_back_after_it_was_revoked() -> None:
    with fresh_stack(Teller(slow=False, as_json=True), brokers=2, workers=1) as state:
        found = running(state)
        assert found is not None
        asyncio.run(hijacked_and_undone(found.issuer, found.crm_url, state))
