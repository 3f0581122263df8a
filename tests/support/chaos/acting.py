"""Agents that ask until they are answered, and people who vote until it is counted."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import httpx

from broker.cli.bootstrap import USE_CASE
from broker.cli.demo.world import World, open_world
from broker.client.answers import Answer, RefusedError, UnreachableError
from tests.support.chaos.killing import found
from tests.support.chaos.schedule import Kind, Want
from tests.support.chaos.shop import Buyer, buyers

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

PATIENCE_S = 90.0
"""How long an agent or a person tries, while parts die and come back."""

ENDED = {"done", "refused", "failed", "cancelled", "expired"}
_AWAY = (UnreachableError, httpx.HTTPError, RefusedError, OSError)


@dataclass
class Wish:
    """A want, and what is known of it: its actions, and votes that were counted."""

    want: Want
    buyer: Buyer
    actions: list[str] = field(default_factory=list)
    counted: str = ""
    last: dict[str, Any] = field(default_factory=dict)
    refused: str = ""


@dataclass
class Cast:
    """Everybody, at both brokers."""

    worlds: tuple[World, ...]
    people: tuple[Buyer, ...]
    conversations: list[str] = field(default_factory=list)

    @property
    def shop(self) -> Any:
        """Return the CRM beside the brokers."""
        return self.worlds[0].shop

    async def insist(
        self, call: Callable[[World], Awaitable[Any]], *, start: int = 0
    ) -> Any:
        """Call one broker after the other until one of them answers."""
        until, attempt = time.monotonic() + PATIENCE_S, start
        while True:
            try:
                answer = await call(self.worlds[attempt % len(self.worlds)])
            except _AWAY as error:
                said: object = repr(error)
            else:
                if not isinstance(answer, Answer) or answer.status < 500:
                    return answer
                said = answer.body
            assert time.monotonic() < until, f"nobody answered: {said}"
            attempt += 1
            await asyncio.sleep(0.2)

    async def introduce(self) -> None:
        """Open a conversation with every customer, and let the agent read the order."""
        for buyer in self.people:
            self.conversations.append(await self.insist(self._opened(buyer)))
        for number, buyer in enumerate(self.people):
            for tool, arguments in (
                ("customers.get", {}),
                ("orders.get", {"order_id": buyer.order}),
            ):
                answer = await self.insist(self._read(number, tool, arguments))
                assert answer.body.get("status") == "done", answer.body

    def _opened(self, buyer: Buyer) -> Callable[[World], Awaitable[str]]:
        async def call(world: World) -> str:
            opened = await world.channel.open_interaction(
                world.agent_id,
                use_case=USE_CASE,
                customer=buyer.customer,
                verification_level=2,
            )
            return str(opened.checked()["interaction"])

        return call

    def _read(
        self, number: int, tool: str, arguments: dict[str, Any]
    ) -> Callable[[World], Awaitable[Answer]]:
        async def call(world: World) -> Answer:
            return await world.agent.act(
                tool, arguments, interaction=self.conversations[number]
            )

        return call

    async def ask(self, wish: Wish) -> None:
        """Ask for a refund, by as many clicks as wanted, all under one key."""
        await asyncio.gather(*(self._ask(wish, n) for n in range(wish.want.clicks)))

    async def _ask(self, wish: Wish, start: int) -> None:
        async def call(world: World) -> Answer:
            return await world.agent.act(
                "orders.refund",
                {
                    "order_id": wish.buyer.order,
                    "amount_minor_units": wish.want.amount,
                    "currency": "USD",
                    "payment_method_id": wish.buyer.payment_method,
                },
                interaction=self.conversations[wish.want.customer],
                reason="the goods arrived broken",
                idempotency_key=wish.want.key,
            )

        answer = await self.insist(call, start=start)
        action = answer.body.get("action_id")
        if action is None or not answer.ok:
            wish.refused = str(answer.body)
        elif action not in wish.actions:
            wish.actions.append(str(action))

    async def look(self, wish: Wish) -> bool:
        """Look at a wish's last action; return whether it has ended."""
        if not wish.actions:
            return True
        action = wish.actions[-1]
        answer = await self.insist(lambda world: world.agent.action(action))
        wish.last = dict(answer.body)
        return wish.last.get("status") in ENDED

    async def say(self, wish: Wish) -> None:
        """Let people vote, or the agent withdraw, by as many clicks as wanted."""
        if not wish.actions or wish.want.kind is Kind.SMALL:
            return
        if wish.want.kind is Kind.CANCELLED:
            action = wish.actions[-1]
            answer = await self.insist(lambda world: world.agent.cancel(action))
            wish.counted = "withdrawn" if answer.ok else ""
            return
        await asyncio.gather(*(self._vote(wish, n) for n in range(wish.want.clicks)))

    async def _vote(self, wish: Wish, start: int) -> None:
        verdict = "approve" if wish.want.kind is Kind.APPROVED else "reject"
        action = wish.actions[-1]

        async def call(world: World) -> Answer | None:
            for row in await world.alice.approvals():
                if row["action"] == action:
                    return await world.alice.vote(str(row["approval"]), verdict)
            return None

        answer = await self.insist(call, start=start)
        if answer is not None and answer.ok:
            wish.counted = str(answer.body["state"])


@asynccontextmanager
async def open_cast(state: Path) -> AsyncIterator[Cast]:
    """Reach everybody at every broker of a stack."""
    stack = found(state)
    async with AsyncExitStack() as opened:
        worlds = [
            await opened.enter_async_context(
                open_world(state, base_url=url, crm_url=stack.crm_url)
            )
            for url in stack.brokers
        ]
        yield Cast(tuple(worlds), buyers())
