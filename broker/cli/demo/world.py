"""Whom the demo's story is about, and how to reach them all on a running stack."""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx

from broker.cli.bootstrap import AGENT, CHANNEL, USE_CASE
from broker.client.agent import AgentClient
from broker.client.channel import ChannelClient
from broker.client.keys import read_key
from broker.client.person import PersonClient

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

CUSTOMER, EMAIL = "aarav_anderson_8794", "aarav.anderson9752@example.com"
PAYEE = "gift_card_7245904"
ORDER, ORDER_PAID = "W3470184", 135_418
OTHER_ORDER = "W3220203"
SMALL_ORDER, SMALL_PAID = "W4316152", 18_960
# The first calls after `up` have an order of their own, so that the story finds its own
# untouched.
FIRST_ORDER = "W9311069"
FOREIGN_ORDER = "W2611340"
CALL_S_MAX = 20.0


@dataclass(frozen=True, slots=True)
class Shop:
    """The reference CRM beside the broker: what really happened, seen from outside."""

    http: httpx.AsyncClient
    control: str
    credential: str

    async def refunds(self, order: str) -> list[int]:
        """Return the amounts that the CRM refunded on an order, in minor units."""
        return [
            int(change["amount_minor_units"])
            for change in await self.journal()
            if change["kind"] == "refund" and change["object"] == order
        ]

    async def journal(self) -> Sequence[Mapping[str, Any]]:
        """Return every change that the CRM made."""
        answer = await self.http.get("/__journal", headers=self._bearer(self.control))
        answer.raise_for_status()
        changes: Sequence[Mapping[str, Any]] = answer.json()
        return changes

    async def replies(self) -> list[str]:
        """Return what the customer was told, as the customer sees it."""
        path = f"/customers/{CUSTOMER}/replies"
        answer = await self.http.get(path, headers=self._bearer(self.credential))
        answer.raise_for_status()
        return [str(reply["text"]) for reply in answer.json()["replies"]]

    async def note(self, order: str, text: str) -> None:
        """Plant a note on an order, as somebody else might."""
        answer = await self.http.post(
            f"/orders/{order}/notes",
            json={"author": "warehouse", "text": text},
            headers=self._bearer(self.credential),
        )
        answer.raise_for_status()

    def _bearer(self, credential: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {credential}"}


@dataclass(frozen=True, slots=True)
class World:
    """Everybody in the story."""

    state: Path
    base_url: str
    agent: AgentClient
    agent_id: str
    channel: ChannelClient
    alice: PersonClient
    bob: PersonClient
    carol: PersonClient
    shop: Shop

    async def conversation(self, *, level: int = 2) -> str:
        """Have the channel open an interaction with the customer; return its id."""
        opened = await self.channel.open_interaction(
            self.agent_id,
            use_case=USE_CASE,
            customer=CUSTOMER if level else "",
            verification_level=level,
        )
        return str(opened.checked()["interaction"])


@asynccontextmanager
async def open_world(
    state: Path, *, base_url: str, crm_url: str
) -> AsyncIterator[World]:
    """Reach everybody with the keys that the state's owners hold."""
    clients = state / "clients"
    agent = read_key(clients / "agents" / f"{AGENT}.jwk")
    channel = read_key(clients / "channels" / f"{CHANNEL}.jwk")
    async with AsyncExitStack() as stack:
        people = {}
        for name in ("alice", "bob", "carol"):
            key = read_key(clients / "people" / f"{name}.jwk")
            people[name] = await stack.enter_async_context(
                PersonClient(base_url, client_id=key.client_id, key=key.key)
            )
        crm = await stack.enter_async_context(
            httpx.AsyncClient(base_url=crm_url, timeout=CALL_S_MAX, trust_env=False)
        )
        yield World(
            state=state,
            base_url=base_url,
            agent=await stack.enter_async_context(
                AgentClient(base_url, client_id=agent.client_id, key=agent.key)
            ),
            agent_id=agent.subject_id,
            channel=await stack.enter_async_context(
                ChannelClient(base_url, channel_id=channel.subject_id, key=channel.key)
            ),
            alice=people["alice"],
            bob=people["bob"],
            carol=people["carol"],
            shop=Shop(
                crm,
                control=_secret(state / "democrm" / "control"),
                credential=_secret(state / "democrm" / "credential"),
            ),
        )


def _secret(file: Path) -> str:
    return file.read_text(encoding="utf-8").strip()
