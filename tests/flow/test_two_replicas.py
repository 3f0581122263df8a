"""Two replicas on one database: what one revokes, the other refuses at once."""

from __future__ import annotations

import time
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio

from broker import flow, sweeper
from broker.core.authenticate import instance_id, revocation_scopes
from broker.core.identity.exchange import child_chain, child_epochs
from broker.core.words.action import ActionState
from broker.core.words.identity import RegisteredKey
from broker.core.words.subject import Grant
from broker.registry.reading import write_keys
from tests.flow.test_delegation import CHILD, CHILD_ID, PARENT, by_child
from tests.support.approvals.voters import LARGE, PAID_PLENTY, approve, change_row
from tests.support.flow.house import AGENT_ID, PEOPLE, open_house, put_row
from tests.support.identities import (
    AGENT_KEY,
    INSTANCE_KEY,
    access_token,
    key_of,
)
from tests.support.mcp.house import McpHouse, open_api

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

REFUSED_S_MAX = 1.0
"""Nothing starts later than this after a revocation was committed."""


@pytest_asyncio.fixture
async def replicas(
    pg_broker_dsn: str, pg_dsn: str
) -> AsyncIterator[tuple[McpHouse, McpHouse]]:
    """Return two replicas, each with its own connections and its own door."""
    async with AsyncExitStack() as stack:
        opened = []
        for name in ("broker-0", "broker-1"):
            house = await stack.enter_async_context(
                open_house(pg_broker_dsn, owner_dsn=pg_dsn, replica=name)
            )
            house.executor.paid = PAID_PLENTY
            opened.append(await stack.enter_async_context(open_api(house)))
        first = opened[0].house
        row = await first.registry.get("agent", AGENT_ID)
        assert row is not None
        helper = {"name": "helper", "owner": PEOPLE["bob"], "keys": _slot("helper")}
        await put_row(first, "agent", CHILD_ID, dict(row.body) | helper)
        await change_row(first, row, delegates=[CHILD_ID])
        yield opened[0], opened[1]


def _slot(word: str) -> list[dict[str, Any]]:
    return write_keys([RegisteredKey(key_of(word).public())])


def childs() -> dict[str, Any]:
    """Return the fields of a token that the child holds of the parent's."""
    parent = access_token()
    instance = instance_id(CHILD, jkt=INSTANCE_KEY.kid)
    scopes = revocation_scopes(
        CHILD, environment="dev", instance=instance, grant="link-1"
    )
    return {
        "subject_id": CHILD_ID,
        "client_kid": key_of("helper").kid,
        "instance_id": instance,
        "principal": PARENT,
        "actors": child_chain(CHILD, principal=PARENT, actors=()),
        "delegation_id": "link-1",
        "lent_with": (AGENT_KEY.kid,),
        "epochs": child_epochs(parent.epochs, dict.fromkeys(scopes, 0)),
    }


async def status(api: McpHouse, **fields: Any) -> int:
    """Call as a holder of a token with these fields."""
    answer = await api.rpc("tools/list", who=api.proved(grant=Grant(), **fields))
    return answer.status_code


@pytest.mark.parametrize("scope", [PARENT, "grant:grant-1", "instance", "global:dev"])
async def test_the_other_replica_refuses_parent_and_child_within_a_second(
    replicas: tuple[McpHouse, McpHouse], scope: str
) -> None:
    here, there = replicas
    child = childs()
    assert await status(there) == 200
    assert await status(there, **child) == 200
    if scope == "instance":
        scope = f"instance:{access_token().instance_id}"
    await here.house.revoke(scope)
    began_s = time.monotonic()
    while await status(there) != 401:
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
