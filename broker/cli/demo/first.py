"""The demo agent's first real calls on a fresh state: there is something to see.

A read, a small refund under the standing approval, and a large refund that is left
pending for whoever sits at the desk.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from broker.cli.demo.story import LARGE, SMALL, Told, act, expect, money, refund
from broker.cli.demo.world import FIRST_ORDER, open_world
from broker.cli.stack.running import running


def first_calls(*, state: Path, base_url: str, say: Callable[[str], None]) -> None:
    """Make them, and say what became of them.

    Raises:
        NotSoError: one of them did not end as it should.
    """
    found = running(state)
    crm_url = found.crm_url if found else ""
    asyncio.run(_calls(state, base_url=base_url, crm_url=crm_url, say=say))


async def _calls(
    state: Path, *, base_url: str, crm_url: str, say: Callable[[str], None]
) -> None:
    async with open_world(state, base_url=base_url, crm_url=crm_url) as world:
        told = Told(conversation=await world.conversation())
        words = "One of my orders arrived broken. May I have some money back?"
        (await world.channel.turn(told.conversation, words)).checked()
        (await act(world, told, "customers.get")).checked()
        order = (await act(world, told, "orders.get", order_id=FIRST_ORDER)).checked()
        expect(order["status"] == "done", "the order is read")
        say(f"the demo agent read order {FIRST_ORDER}")
        small = (await refund(world, told, SMALL, order=FIRST_ORDER)).checked()
        expect(small["status"] == "done", "the small refund is done")
        say(f"it refunded {money(SMALL)} under its standing approval")
        large = (await refund(world, told, LARGE, order=FIRST_ORDER)).checked()
        expect(large["status"] == "pending_approval", "the large refund waits")
        say(
            f"it asked for {money(LARGE)}, which waits for a person: "
            "counterfoil approvals list --as alice"
        )
