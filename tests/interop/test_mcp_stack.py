"""The official MCP client on the whole stack: read, pending, approved, result."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from mcp.client import Client
from mcp.client.stdio import StdioServerParameters, stdio_client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared._httpx_utils import create_mcp_http_client

from broker.cli.demo.command import Teller, fresh_stack
from broker.cli.demo.story import waiting
from broker.cli.demo.world import CUSTOMER, ORDER, PAYEE, World, open_world
from broker.cli.stack.running import running
from tests.support.mcp.scenario import body_of, refund_through_approval

ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
AMOUNT, SMALL = 15_000, 2_500
ROOT = Path(__file__).resolve().parents[2]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as one:
        port: int = one.getsockname()[1]
    return port


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


REFUND = {
    "order_id": ORDER,
    "amount_minor_units": AMOUNT,
    "currency": "USD",
    "payment_method_id": PAYEE,
}


@pytest.fixture(scope="module")
def state() -> Iterator[Path]:
    teller = Teller(slow=False, as_json=True)
    with fresh_stack(teller, brokers=1, workers=1) as state:
        yield state


@asynccontextmanager
async def world_of(state: Path) -> AsyncIterator[World]:
    found = running(state)
    assert found is not None
    async with open_world(state, base_url=found.issuer, crm_url=found.crm_url) as world:
        yield world


def approver(world: World) -> Callable[[str], Awaitable[None]]:
    async def approve(action_id: str) -> None:
        approval = await waiting(world, action_id)
        (await world.alice.vote(approval, "approve")).checked()

    return approve


@contextmanager
def connected(state: Path, *words: str) -> Iterator[dict[str, Any]]:
    """Run `counterfoil connect`, and return what it says of itself."""
    process = subprocess.Popen(
        [
            *(sys.executable, "-P", "-m", "broker.cli", "connect"),
            *("--agent", "care-agent", "--state", str(state), "--json", *words),
        ],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        yield json.loads(process.stdout.readline())
    finally:
        process.terminate()
        process.communicate(timeout=20)


async def refunded(client: Client, world: World) -> dict[str, Any]:
    """Refund through a person; see it done once, and nobody named."""
    before = await world.shop.refunds(ORDER)
    done = await refund_through_approval(client, REFUND, approve=approver(world))
    assert done["result"]["amount_minor_units"] == AMOUNT
    assert await world.shop.refunds(ORDER) == [*before, AMOUNT]
    assert CUSTOMER not in json.dumps(done)
    return done


@pytest.mark.timeout(240)
async def test_an_unmodified_client_refunds_through_a_person_on_the_whole_stack(
    state: Path,
) -> None:
    async with world_of(state) as world:
        token = await bearer(world, await world.conversation())
        headers = {"Authorization": f"Bearer {token}"}
        async with create_mcp_http_client(headers) as http:
            url = f"{world.base_url}/mcp"
            transport = streamable_http_client(url, http_client=http)
            async with Client(transport) as client:
                await refunded(client, world)


@pytest.mark.timeout(240)
async def test_through_connect_it_does_so_with_proof_of_possession(
    state: Path,
) -> None:
    """And needs no person where somebody signed in advance."""
    async with world_of(state) as world:
        interaction = await world.conversation()
        words = ("--interaction", interaction, "--port", str(free_port()))
        with connected(state, *words) as said:
            server = said["mcp"]["mcpServers"]["counterfoil"]
            async with create_mcp_http_client(server["headers"]) as http:
                transport = streamable_http_client(server["url"], http_client=http)
                async with Client(transport) as client:
                    await refunded(client, world)
                    small = REFUND | {"amount_minor_units": SMALL}
                    done = body_of(await client.call_tool("orders_refund", small))
    assert (done["status"], bool(done.get("standing_approval"))) == ("done", True)


@pytest.mark.timeout(240)
async def test_a_client_that_starts_a_command_speaks_through_connect_as_well(
    state: Path,
) -> None:
    async with world_of(state) as world:
        command = StdioServerParameters(
            command=sys.executable,
            args=[
                *("-P", "-m", "broker.cli", "connect", "--stdio"),
                *("--agent", "care-agent", "--state", str(state)),
                *("--interaction", await world.conversation()),
            ],
            env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)},
        )
        async with Client(stdio_client(command)) as client:
            await refunded(client, world)
