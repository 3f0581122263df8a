"""Each part of a real stack stops answering, and nothing hangs, is lost or done twice.

A part that is stopped by a signal is worse than one that is gone: connections to it
stay open, and nobody answers. What is promised then stands in DESIGN, chapter 7 (When
parts are down), and in docs/operate.md. Run with ``make chaos``.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from broker.cli.demo.command import Teller, fresh_stack
from broker.cli.demo.story import waiting
from broker.cli.demo.world import ORDER, PAYEE, World, open_world
from broker.cli.stack.running import descendants, running
from broker.client.answers import Answer, UnreachableError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterator
    from pathlib import Path

ANSWER_S_MAX = 5.0
BACK_S_MAX = 20.0
LAG_S = 11.0
SMALL, LARGE = 100, 15_000
DONE, PENDING, AWAY = (200, "done"), (202, "pending_approval"), (503, "unavailable")
AT_WORK = (202, "executing")


@dataclass(frozen=True)
class Outage:
    """Which parts stop, and what is answered meanwhile.

    ``read`` and ``small`` may be answered in one of several ways: whoever is the first
    to notice waits longer than whoever comes after.
    """

    parts: tuple[str, ...]
    read: set[tuple[int, str]] = field(default_factory=lambda: {DONE})
    small: set[tuple[int, str]] = field(default_factory=lambda: {DONE})
    large: tuple[int, str] = PENDING
    for_s: float = 0.0


OUTAGES = (
    Outage(("postgres",), {AWAY}, {AWAY}, AWAY),
    Outage(("valkey",)),
    Outage(("temporal",)),
    Outage(("worker-0", "worker-1")),
    Outage(("runner",), {AT_WORK, AWAY}, {AWAY}),
    Outage(("edge",), {AT_WORK, AWAY}, {AT_WORK, AWAY}),
    Outage(("democrm",), {AT_WORK}, {AT_WORK}),
    Outage(("signer",), {AWAY}, {AWAY}, AWAY, for_s=LAG_S),
)


@pytest.fixture(scope="module")
def state() -> Iterator[Path]:
    with fresh_stack(Teller(slow=False, as_json=True), brokers=2, workers=2) as state:
        yield state


@contextlib.contextmanager
def stopped(state: Path, parts: tuple[str, ...]) -> Iterator[None]:
    """Stop the processes of these parts; let them go on afterwards."""
    found = running(state)
    assert found is not None
    tops = [row.pid for row in found.rows if row.part in parts]
    assert len(tops) == len(parts)
    pids = sorted({pid for top in tops for pid in (top, *descendants(top))})
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


async def in_time(call: Awaitable[Answer]) -> Answer:
    """Return an answer that came within the time that is promised."""
    began = time.monotonic()
    answer = await call
    assert time.monotonic() - began < ANSWER_S_MAX
    if answer.status == 503:
        assert answer.headers["retry-after"]
        assert answer.body["hint"]
    return answer


def said(answer: Answer) -> tuple[int, str]:
    if answer.status == 503:
        return AWAY
    return answer.status, str(answer.body.get("status"))


class Agent:
    """An agent in one conversation, whose calls can be told apart."""

    def __init__(self, world: World, interaction: str, tag: str) -> None:
        self.world = world
        self.interaction = interaction
        self.tag = tag

    async def read(self) -> Answer:
        return await self.world.agent.act(
            "orders.get", {"order_id": ORDER}, interaction=self.interaction
        )

    async def refund(self, amount: int) -> Answer:
        arguments: dict[str, Any] = {
            "order_id": ORDER,
            "amount_minor_units": amount,
            "currency": "USD",
            "payment_method_id": PAYEE,
        }
        return await self.world.agent.act(
            "orders.refund",
            arguments,
            interaction=self.interaction,
            idempotency_key=f"{self.tag}-{amount}",
        )

    async def ends(self, answer: Answer) -> str:
        ended = await self.world.agent.wait(
            str(answer.checked()["action_id"]), timeout_s=30
        )
        return str(ended.body["status"])

    async def until_it_works(self) -> None:
        began = time.monotonic()
        while time.monotonic() - began < BACK_S_MAX:
            with contextlib.suppress(UnreachableError):
                if said(await self.read()) == DONE:
                    return
            await asyncio.sleep(0.1)
        pytest.fail(f"no read worked {BACK_S_MAX} s afterwards")


@pytest.mark.timeout(180)
@pytest.mark.parametrize("outage", OUTAGES, ids=lambda outage: outage.parts[0])
async def test_a_part_that_stops_answering_hangs_nothing_and_moves_nothing_twice(
    state: Path, outage: Outage
) -> None:
    found = running(state)
    assert found is not None
    async with open_world(state, base_url=found.issuer, crm_url=found.crm_url) as world:
        agent = Agent(world, await world.conversation(), outage.parts[0])
        (await world.agent.act("customers.get", {}, interaction=agent.interaction))
        assert said(await agent.read()) == DONE
        await world.bob.approvals()
        before = await world.shop.refunds(ORDER)

        with stopped(state, outage.parts):
            await asyncio.sleep(outage.for_s)
            assert said(await in_time(agent.read())) in outage.read
            assert said(await in_time(agent.refund(SMALL))) in outage.small
            large = await in_time(agent.refund(LARGE))
            assert said(large) == outage.large
            if large.status == 202:
                approval = await waiting(world, large.body["action_id"])
                voted = await in_time(world.alice.vote(approval, "approve"))
                assert voted.checked()["state"] == "approved"

        await agent.until_it_works()
        # The same calls again are the same actions, unless nothing had been sent.
        small, again = await agent.refund(SMALL), await agent.refund(LARGE)
        assert await agent.ends(small) == "done"
        if large.status == 202:
            assert again.body["action_id"] == large.body["action_id"]
        else:
            approval = await waiting(world, again.checked()["action_id"])
            (await world.alice.vote(approval, "approve")).checked()
        assert await agent.ends(again) == "done"
        moved = (await world.shop.refunds(ORDER))[len(before) :]
        assert sorted(moved) == [SMALL, LARGE]
