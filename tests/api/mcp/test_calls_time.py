"""Calls: an answer in time, whatever happens behind it."""

from __future__ import annotations

import asyncio
from typing import Any

from broker.api.mcp.words import (
    HOLD_S_MAX,
)
from broker.core.words.errors import (
    ExecutorUnavailableError,
)
from broker.ports import Ran
from tests.support.mcp.agent import SMALL, agent, refund
from tests.support.mcp.house import McpHouse


async def test_a_slow_execution_is_answered_in_time_and_goes_on(api: McpHouse) -> None:
    who = await agent(api)
    run, release = api.house.executor.run, asyncio.Event()

    async def slow(warrant: Any, *, timeout_s: int) -> Ran:
        await release.wait()
        return await run(warrant, timeout_s=timeout_s)

    api.house.executor.run = slow  # type: ignore[method-assign]
    loop = asyncio.get_running_loop()
    begun = loop.time()
    body = await who.body("orders_refund", **refund())
    took_s = loop.time() - begun
    assert HOLD_S_MAX <= took_s < 4
    assert body["status"] == "executing"
    assert "get_action" in body["next"]
    release.set()
    seen = await who.body("get_action", action_id=body["action_id"])
    assert seen["status"] == "done"
    assert api.house.executor.amounts() == [SMALL]


async def test_a_repeated_call_waits_for_the_one_under_way(api: McpHouse) -> None:
    who = await agent(api)
    run = api.house.executor.run

    async def slow(warrant: Any, *, timeout_s: int) -> Ran:
        await asyncio.sleep(0.5)
        return await run(warrant, timeout_s=timeout_s)

    api.house.executor.run = slow  # type: ignore[method-assign]
    first, second = await asyncio.gather(
        who.body("orders_refund", **refund()), who.body("orders_refund", **refund())
    )
    assert first["status"] == second["status"] == "done"
    assert first["action_id"] == second["action_id"]
    assert api.house.executor.amounts() == [SMALL]


async def test_a_repeated_call_hears_like_the_first_that_nobody_was_there(
    api: McpHouse,
) -> None:
    who = await agent(api)

    async def lost(warrant: Any, *, timeout_s: int) -> Ran:
        await asyncio.sleep(0.5)
        msg = "gone"
        raise ExecutorUnavailableError(msg)

    api.house.executor.run = lost  # type: ignore[method-assign]
    both = await asyncio.gather(
        who.call("orders_refund", **refund()), who.call("orders_refund", **refund())
    )
    assert [found["code"] for found in both] == [-32011, -32011]


async def test_a_client_that_disconnects_cancels_nothing(api: McpHouse) -> None:
    who = await agent(api)
    run, begun = api.house.executor.run, asyncio.Event()

    async def slow(warrant: Any, *, timeout_s: int) -> Ran:
        begun.set()
        await asyncio.sleep(0.2)
        return await run(warrant, timeout_s=timeout_s)

    api.house.executor.run = slow  # type: ignore[method-assign]
    call = asyncio.create_task(who.call("orders_refund", **refund()))
    await begun.wait()
    call.cancel()
    await asyncio.wait({call})
    await asyncio.wait({*api.app.state.tasks})
    assert api.house.executor.amounts() == [SMALL]


async def test_a_decision_that_takes_too_long_is_not_able_to_decide(
    api: McpHouse,
) -> None:
    who = await agent(api)
    release = asyncio.Event()

    async def stuck() -> None:
        await release.wait()

    api.house.ports.journal.ready = stuck  # type: ignore[method-assign]
    found = await who.call("orders_refund", **refund())
    assert found["code"] == -32011
    assert found["data"]["retry_after_s"] == 2
    release.set()
    await asyncio.wait({*api.app.state.tasks})
