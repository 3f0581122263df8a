"""Two replicas with their doors on one database, and a child's token at them."""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any

from broker.core.authenticate import instance_id, revocation_scopes
from broker.core.identity.exchange import child_chain, child_epochs
from broker.core.words.identity import RegisteredKey
from broker.core.words.subject import Epochs, Grant
from broker.registry.reading import write_keys
from tests.support.approvals.voters import PAID_PLENTY, change_row
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

CHILD_ID = "0197a000-0000-7000-8000-00000000a002"
PARENT, CHILD = f"agent:{AGENT_ID}", f"agent:{CHILD_ID}"


@asynccontextmanager
async def two_replicas(
    broker_dsn: str, owner_dsn: str
) -> AsyncIterator[tuple[McpHouse, McpHouse]]:
    """Open two replicas, each with its own connections and its own door."""
    async with AsyncExitStack() as stack:
        opened = []
        for name in ("broker-0", "broker-1"):
            house = await stack.enter_async_context(
                open_house(broker_dsn, owner_dsn=owner_dsn, replica=name)
            )
            house.executor.paid = PAID_PLENTY
            opened.append(await stack.enter_async_context(open_api(house)))
        first = opened[0].house
        row = await first.registry.get("agent", AGENT_ID)
        assert row is not None
        keys = write_keys([RegisteredKey(key_of("helper").public())])
        helper = {"name": "helper", "owner": PEOPLE["bob"], "keys": keys}
        await put_row(first, "agent", CHILD_ID, dict(row.body) | helper)
        await change_row(first, row, delegates=[CHILD_ID])
        yield opened[0], opened[1]


def granted(grant: str = "grant-1") -> dict[str, Any]:
    """Return the fields of a token that the agent itself holds."""
    instance = access_token().instance_id
    scopes = revocation_scopes(
        PARENT, environment="dev", instance=instance, grant=grant
    )
    return {"grant_id": grant, "epochs": Epochs(tuple((s, 0) for s in sorted(scopes)))}


def lent(grant: str = "grant-1") -> dict[str, Any]:
    """Return the fields of a token that the child holds of such a one."""
    instance = instance_id(CHILD, jkt=INSTANCE_KEY.kid)
    scopes = revocation_scopes(
        CHILD, environment="dev", instance=instance, grant="link-1"
    )
    parent = granted(grant)
    return parent | {
        "subject_id": CHILD_ID,
        "client_kid": key_of("helper").kid,
        "instance_id": instance,
        "principal": PARENT,
        "actors": child_chain(CHILD, principal=PARENT, actors=()),
        "delegation_id": "link-1",
        "lent_with": (AGENT_KEY.kid,),
        "epochs": child_epochs(parent["epochs"], dict.fromkeys(scopes, 0)),
    }


async def status(api: McpHouse, **fields: Any) -> int:
    """Call as a holder of a token with these fields."""
    answer = await api.rpc("tools/list", who=api.proved(grant=Grant(), **fields))
    return answer.status_code
