"""The tool API's patience: what takes too long goes on, and the answer says so."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio

from broker.api.actions import ANSWER_S_MAX, LOOK_S_MAX, WAIT_S_MAX, answered
from broker.core.words.errors import UnavailableError
from tests.support.flow.executor import CARD, ORDER
from tests.support.flow.house import open_house
from tests.support.identities import API
from tests.support.mcp.house import McpHouse, open_api

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


SLACK_S = 4.0


@dataclass
class SlowPart:
    """A port that does not answer until it is let go."""

    part: Any
    method: str
    go: asyncio.Event = field(default_factory=asyncio.Event)

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.part, name)
        if name != self.method:
            return found

        async def wait(*args: Any, **more: Any) -> Any:
            await self.go.wait()
            return await found(*args, **more)

        return wait


@pytest_asyncio.fixture
async def api(pg_broker_dsn: str, pg_dsn: str) -> AsyncIterator[McpHouse]:
    async with (
        open_house(pg_broker_dsn, owner_dsn=pg_dsn) as house,
        open_api(house) as opened,
    ):
        yield opened


def slow(api: McpHouse, port: str, method: str) -> SlowPart:
    """Put a slow part in the place of one of the house's."""
    part = SlowPart(getattr(api.house.ports, port), method)
    changed: dict[str, Any] = {port: part}
    api.house.ports = replace(api.house.ports, **changed)
    api.app.state.ports = api.house.ports
    return part


async def test_an_action_that_takes_longer_is_answered_202_and_goes_on(api) -> None:
    house = api.house
    interaction = await house.interaction()
    await house.read_order(interaction)
    part = slow(api, "executor", "run")
    body = {
        "tool": "orders.refund",
        "arguments": {
            "order_id": ORDER,
            "amount_minor_units": 2_500,
            "currency": "USD",
            "payment_method_id": CARD,
        },
        "interaction": interaction.interaction_id,
    }
    begun = time.monotonic()
    who = api.proved(f"{API}/actions")
    answer = await api.post(body, who, path="/v1/actions")
    took_s = time.monotonic() - begun
    assert answer.status_code == 202, answer.text
    assert ANSWER_S_MAX <= took_s < ANSWER_S_MAX + SLACK_S
    assert answer.json()["status"] == "executing"
    action_id = answer.json()["action_id"]
    assert answer.headers["location"] == f"/v1/actions/{action_id}"
    assert answer.headers["retry-after"]
    assert house.executor.amounts() == []
    part.go.set()
    await asyncio.gather(*api.app.state.tasks)
    done = await house.ports.store.action(action_id)
    assert done is not None
    assert done.state.value == "done"
    assert house.executor.amounts() == [2_500]
    assert api.app.state.tasks == set()


async def test_looking_how_far_it_came_takes_no_longer_than_its_limit(api) -> None:
    house = api.house
    interaction = await house.interaction()
    ask = replace(
        house.ask("customers.get", interaction), action_id=house.ports.ids.new()
    )
    part = slow(api, "store", "action")
    tasks: set[asyncio.Task[Any]] = set()
    begun = time.monotonic()
    with pytest.raises(UnavailableError):
        await answered(house.ports, ask, tasks=tasks, within_s=0.01)
    assert LOOK_S_MAX <= time.monotonic() - begun < LOOK_S_MAX + SLACK_S
    part.go.set()
    await asyncio.gather(*tasks)


async def test_what_is_not_even_decided_in_time_is_unavailable(api) -> None:
    house = api.house
    interaction = await house.interaction()
    part = slow(api, "authority", "view")
    ask = replace(
        house.ask("customers.get", interaction), action_id=house.ports.ids.new()
    )
    tasks: set[asyncio.Task[Any]] = set()
    with pytest.raises(UnavailableError) as caught:
        await answered(house.ports, ask, tasks=tasks, within_s=0.1)
    assert caught.value.retry_after_s
    assert len(tasks) == 1
    part.go.set()
    await asyncio.gather(*tasks)


@pytest.mark.parametrize(
    ("wait_s", "status", "code"),
    [
        (WAIT_S_MAX, 404, "not-found"),
        (WAIT_S_MAX + 1, 422, "invalid"),
        (-1, 422, "invalid"),
        ("nan", 422, "invalid"),
    ],
)
async def test_a_caller_waits_as_long_as_the_limit_and_not_longer(
    api, wait_s, status, code
) -> None:
    interaction = await api.house.interaction()
    path = f"/v1/actions/{interaction.interaction_id}?wait_s={wait_s}"
    answer = await api.http.get(path, headers=api.bearer(interaction))
    assert (answer.status_code, answer.json()["code"]) == (status, code)
