"""What is no amount of money is refused by its field, and leaves nothing behind."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio

from broker.api.bodies import BODY_BYTES_MAX, BODY_DEPTH_MAX
from tests.support.flow.executor import CARD, ORDER
from tests.support.flow.house import open_house
from tests.support.identities import API
from tests.support.mcp.house import McpHouse, open_api

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import httpx

AMOUNT, CURRENCY = "/arguments/amount_minor_units", "/arguments/currency"
MOST = 2**53 - 1


@pytest_asyncio.fixture
async def api(pg_broker_dsn: str, pg_dsn: str) -> AsyncIterator[McpHouse]:
    async with (
        open_house(pg_broker_dsn, owner_dsn=pg_dsn) as house,
        open_api(house) as opened,
    ):
        yield opened


async def ask(api: McpHouse, body: Any) -> httpx.Response:
    return await api.post(body, api.proved(f"{API}/actions"), path="/v1/actions")


async def refund(api: McpHouse, **changes: Any) -> dict[str, Any]:
    interaction = await api.house.interaction()
    await api.house.read_order(interaction)
    arguments = {
        "order_id": ORDER,
        "amount_minor_units": 2_500,
        "currency": "USD",
        "payment_method_id": CARD,
    }
    return {
        "tool": "orders.refund",
        "arguments": arguments | changes,
        "interaction": interaction.interaction_id,
    }


async def refunds_kept(api: McpHouse) -> int:
    async with api.house.admin() as owner:
        kept: int = await owner.fetchval(
            "SELECT count(*) FROM action WHERE tool = 'orders.refund'"
        )
    return kept


@pytest.mark.parametrize(
    ("changes", "pointer"),
    [
        *(({"amount_minor_units": amount}, AMOUNT) for amount in (0, -1, 1.5, 2**53)),
        *(({"amount_minor_units": amount}, AMOUNT) for amount in (10**30, -(2**53))),
        *(({"amount_minor_units": amount}, AMOUNT) for amount in ("500", True, None)),
        *(({"currency": one}, CURRENCY) for one in ("EUR", "usd", "", None, 840)),
    ],
    ids=str,
)
async def test_what_is_no_amount_is_named_by_its_field_and_nothing_is_kept(
    api, changes, pointer
) -> None:
    answer = await ask(api, await refund(api, **changes))
    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (422, "invalid")
    assert problem["pointer"] == pointer
    assert api.house.executor.amounts() == []
    assert await refunds_kept(api) == 0
    assert await api.house.held() == 0


async def test_the_largest_amount_is_one_and_is_decided(api) -> None:
    answer = await ask(api, await refund(api, amount_minor_units=MOST))
    assert (answer.status_code, answer.json()["code"]) == (403, "denied")
    assert await refunds_kept(api) == 1


async def test_what_is_no_body_is_refused_and_nothing_is_kept(api) -> None:
    good = json.dumps(await refund(api)).encode()
    twice = good.replace(b'"tool":', b'"tool": "orders.get", "tool":')
    lists = BODY_DEPTH_MAX + 1
    deep = good.replace(b'"USD"', b"[" * lists + b"]" * lists)
    long = good + b" " * BODY_BYTES_MAX
    for body, status, code in (
        (good[:-1], 400, "malformed"),
        (twice, 400, "malformed"),
        (deep, 413, "too-large"),
        (long, 413, "too-large"),
        (b"[]", 400, "malformed"),
    ):
        answer = await ask(api, body)
        assert (answer.status_code, answer.json()["code"]) == (status, code), body[:60]
    assert api.house.executor.amounts() == []
    assert await refunds_kept(api) == 0
    assert (await ask(api, good)).status_code == 200
