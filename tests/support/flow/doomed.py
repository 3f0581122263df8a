"""Brokers that are killed: python -m tests.support.flow.doomed.

Reads orders as lines of JSON. Each is a replica of its own, forked from here with
everything imported: it opens the flow on the order's database, does what it is told,
and is killed with SIGKILL, by itself at a step or from outside after a time. A line
of JSON says how it ended.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from dataclasses import dataclass, replace
from random import Random
from typing import TYPE_CHECKING, Any

from broker import flow, sweeper
from broker.core.words.action import ActionState
from tests.support.approvals.voters import approve
from tests.support.flow.crashing import Fuse, fused
from tests.support.flow.house import open_house
from tests.support.flow.kept_edge import KeptEdge

if TYPE_CHECKING:
    from broker.core.words.subject import Interaction
    from tests.support.flow.house import House

AT_ONCE = 4
TO_A_PERSON = "gift_card_5555555"
"""Not the customer's own card, so a person is asked."""


@dataclass
class Blast(Fuse):
    """A fuse that ends this process as nothing else can."""

    def end(self, step: str) -> None:
        """Say where, and be gone."""
        os.write(1, f"{step}\n".encode())
        os.kill(os.getpid(), signal.SIGKILL)


async def act(order: dict[str, Any], ready: int) -> None:
    """Do what the order says, in a replica that nobody will close."""
    async with open_house(order["dsn"], owner_dsn=order["owner_dsn"]) as house:
        house.executor = KeptEdge(house.database)
        house.ports = replace(house.ports, executor=house.executor)
        interaction = await house.interaction()
        await house.read_order(interaction)
        os.write(ready, b"x")
        match order["work"]:
            case "permitted":
                fuse = Blast(order["at"])
                ask = house.refund(interaction, order["amount"])
                await flow.submit(fused(house.ports, fuse), ask)
            case "approved":
                await approved(house, interaction, order["amount"], order["at"])
            case _:
                works = (
                    busy(house, interaction, Random(f"{order['seed']} {one}"), ready)
                    for one in range(AT_ONCE)
                )
                await asyncio.gather(*works)


async def approved(
    house: House, interaction: Interaction, amount: int, at: int
) -> None:
    """Ask, let a person sign, and settle with a fuse."""
    ask = house.refund(interaction, amount, to=TO_A_PERSON)
    answer = await flow.submit(house.ports, ask)
    assert answer.record is not None
    if answer.record.state is ActionState.PENDING_APPROVAL:
        await approve(house, "bob", answer.record.approval_id, reason="asked")
        action_id = answer.record.request.action_id
        await flow.settle(fused(house.ports, Blast(at)), action_id)


async def busy(
    house: House, interaction: Interaction, random: Random, ready: int
) -> None:
    """Reserve, submit, approve, settle and sweep until somebody ends it."""
    while True:
        amount = random.randint(1, 900)
        match random.randrange(4):
            case 0:
                await approved(house, interaction, amount, -1)
            case 1:
                await sweeper.interrupted(house.ports)
            case _:
                key = str(random.getrandbits(64))
                ask = house.refund(interaction, amount, key=key)
                await flow.submit(house.ports, ask)
        os.write(ready, b"x")


def doom(order: dict[str, Any]) -> dict[str, Any]:
    """Fork a replica, kill it if it does not do so itself, and say how it ended."""
    ready, told = os.pipe()
    said, says = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.dup2(says, 1)
        try:
            asyncio.run(act(order, told))
        except BaseException as error:  # noqa: BLE001  (said, and the process ends)
            os.write(1, f"{type(error).__name__}: {error}\n".encode())
            os._exit(1)
        os._exit(0)
    os.close(told)
    os.close(says)
    if order["work"] == "busy":
        # After so much work, however fast this machine is, and a moment more.
        for _ in range(order["after"]):
            os.read(ready, 1)
        time.sleep(order["after_s"])
        os.kill(pid, signal.SIGKILL)
    with os.fdopen(said, encoding="utf-8") as words:
        last = words.read().strip()
    os.close(ready)
    _, status = os.waitpid(pid, 0)
    return {"signal": os.WTERMSIG(status), "left": os.WEXITSTATUS(status), "at": last}


def main() -> None:
    """Take orders until there are no more."""
    for line in sys.stdin:
        sys.stdout.write(json.dumps(doom(json.loads(line))) + "\n")
        # What is not flushed here, the next replica would have to say again.
        sys.stdout.flush()


if __name__ == "__main__":
    main()
