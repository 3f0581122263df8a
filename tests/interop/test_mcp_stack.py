"""The official MCP client on the whole stack: read, pending, approved, result."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
from mcp.client import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared._httpx_utils import create_mcp_http_client

from broker.cli.demo.command import Teller, fresh_stack
from broker.cli.demo.story import waiting
from broker.cli.demo.world import CUSTOMER, ORDER, PAYEE, World, open_world
from broker.cli.stack.running import running
from tests.support.mcp.scenario import refund_through_approval

ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
AMOUNT = 15_000


async def bearer(world: World, interaction: str) -> str:
    """Get a token as a client without DPoP would: bound to one interaction."""
    issuer = world.base_url
    details = [{"type": "counterfoil", "interaction": interaction}]
    tokens = world.agent.tokens
    form = {
        "grant_type": "client_credentials",
        "client_id": tokens.client_id,
        "client_assertion_type": ASSERTION_TYPE,
        "client_assertion": tokens.key.assertion(tokens.client_id, audience=issuer),
        "resource": f"{issuer}/v1",
        "authorization_details": json.dumps(details),
    }
    async with httpx.AsyncClient(trust_env=False) as http:
        answer = await http.post(f"{issuer}/oauth/token", data=form)
    body: dict[str, Any] = answer.json()
    assert body.get("token_type") == "Bearer", body
    return str(body["access_token"])


@pytest.mark.timeout(240)
async def test_an_unmodified_client_refunds_through_a_person_on_the_whole_stack() -> (
    None
):
    teller = Teller(slow=False, as_json=True)
    with fresh_stack(teller, brokers=1, workers=1) as state:
        found = running(state)
        assert found is not None
        async with open_world(
            state, base_url=found.issuer, crm_url=found.crm_url
        ) as world:
            token = await bearer(world, await world.conversation())

            async def approve(action_id: str) -> None:
                approval = await waiting(world, action_id)
                (await world.alice.vote(approval, "approve")).checked()

            refund = {
                "order_id": ORDER,
                "amount_minor_units": AMOUNT,
                "currency": "USD",
                "payment_method_id": PAYEE,
            }
            headers = {"Authorization": f"Bearer {token}"}
            async with create_mcp_http_client(headers) as http:
                transport = streamable_http_client(
                    f"{found.issuer}/mcp", http_client=http
                )
                async with Client(transport) as client:
                    done = await refund_through_approval(
                        client, refund, approve=approve
                    )
            assert done["result"]["amount_minor_units"] == AMOUNT
            assert await world.shop.refunds(ORDER) == [AMOUNT]
            assert CUSTOMER not in json.dumps(done)
