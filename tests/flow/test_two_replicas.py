"""Two replicas on one database: what one revokes, the other refuses at once."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from broker import flow, sweeper
from broker.core.words.action import ActionState
from tests.flow.test_delegation import by_child
from tests.support.approvals.voters import LARGE, approve
from tests.support.identities import access_token
from tests.support.identity.replicas import (
    PARENT,
    granted,
    lent,
    status,
    two_replicas,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.mcp.house import McpHouse

REFUSED_S_MAX = 1.0
"""Nothing starts later than this after a revocation was committed."""


@pytest_asyncio.fixture
async def replicas(
    pg_broker_dsn: str, pg_dsn: str
) -> AsyncIterator[tuple[McpHouse, McpHouse]]:
    """Return two replicas, each with its own connections and its own door."""
    async with two_replicas(pg_broker_dsn, pg_dsn) as opened:
        yield opened


@pytest.mark.parametrize("scope", [PARENT, "grant:grant-1", "instance", "global:dev"])
async def test_the_other_replica_refuses_parent_and_child_within_a_second(
    replicas: tuple[McpHouse, McpHouse], scope: str
) -> None:
    here, there = replicas
    mine, child = granted(), lent()
    assert await status(there, **mine) == 200
    assert await status(there, **child) == 200
    if scope == "instance":
        scope = f"instance:{access_token().instance_id}"
    await here.house.revoke(scope)
    began_s = time.monotonic()
    while await status(there, **mine) != 401:
        assert time.monotonic() - began_s < REFUSED_S_MAX
    while await status(there, **child) != 401:
        assert time.monotonic() - began_s < REFUSED_S_MAX


async def test_what_is_queued_for_execution_is_executed_nowhere_any_more(
    replicas: tuple[McpHouse, McpHouse],
) -> None:
    """Signed by people and ready: the SQL state ends it, whoever settles."""
    here, there = (api.house for api in replicas)
    where = await here.interaction()
    await here.read_order(where)
    queued: list[str] = []
    for ask in (
        here.refund(where, LARGE),
        by_child(here, here.refund(where, LARGE, key="childs")),
    ):
        answer = await flow.submit(here.ports, ask)
        assert answer.record is not None
        await approve(here, "alice", answer.record.approval_id)
        queued.append(answer.record.request.action_id)
    await here.revoke(PARENT)
    began_s = time.monotonic()
    for action_id in queued:
        done = await flow.settle(there.ports, action_id)
        assert done is not None
        assert done.state is ActionState.REFUSED
    assert time.monotonic() - began_s < 2 * REFUSED_S_MAX
    await sweeper.revoked(there.ports)
    assert LARGE not in [*here.executor.amounts(), *there.executor.amounts()]
    assert await here.held() == 0
