"""The official MCP client, unmodified, over real HTTP.

A test needs of a place only its address, a Bearer token that is bound to an interaction
with a customer, a refund that needs a person, and somebody who approves it.
"""

from __future__ import annotations

import asyncio
import socket
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio
import uvicorn
from mcp.client import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared._httpx_utils import create_mcp_http_client

from broker import flow
from tests.support.approvals.voters import LARGE, PAID_PLENTY, approve
from tests.support.flow.executor import CARD, ORDER
from tests.support.flow.house import open_house
from tests.support.mcp.house import application, open_api
from tests.support.mcp.scenario import refund_through_approval

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

MODES = ("auto", "legacy", "2026-07-28")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a client connects, and with what."""

    url: str
    token: str
    refund: dict[str, Any]
    approve: Callable[[str], Awaitable[None]]


class Quiet(uvicorn.Server):
    """A server that leaves signals to the test run."""

    def capture_signals(self) -> Any:
        return nullcontext()


@asynccontextmanager
async def served(app: Any) -> AsyncIterator[str]:
    """Serve an application on a port of its own; return its address."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        config = uvicorn.Config(app, log_level="warning", lifespan="off")
        server = Quiet(config)
        task = asyncio.create_task(server.serve(sockets=[listening]))
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            server.should_exit = True
            await task


@pytest_asyncio.fixture
async def place(pg_broker_dsn: str, pg_dsn: str) -> AsyncIterator[Place]:
    """Return the tool API on a real port, before a real flow and a fake shop."""
    async with (
        open_house(pg_broker_dsn, owner_dsn=pg_dsn) as house,
        open_api(house) as api,
        served(application(house)) as base_url,
    ):
        house.executor.paid = PAID_PLENTY
        interaction = await house.interaction()

        async def approved(action_id: str) -> None:
            record = await house.ports.store.action(action_id)
            assert record is not None
            await approve(house, "alice", record.approval_id)
            await flow.settle(house.ports, action_id)

        yield Place(
            url=f"{base_url}/mcp",
            token=api.token(bound_to=interaction.interaction_id),
            refund={
                "order_id": ORDER,
                "amount_minor_units": LARGE,
                "currency": "USD",
                "payment_method_id": CARD,
            },
            approve=approved,
        )


@pytest.mark.parametrize("mode", MODES)
async def test_an_unmodified_client_gets_a_refund_through_approval(
    place: Place, mode: str
) -> None:
    headers = {"Authorization": f"Bearer {place.token}"}
    async with create_mcp_http_client(headers) as http:
        transport = streamable_http_client(place.url, http_client=http)
        async with Client(transport, mode=mode) as client:
            state = await refund_through_approval(
                client, place.refund, approve=place.approve
            )
    assert state["result"]["amount_minor_units"] == LARGE
