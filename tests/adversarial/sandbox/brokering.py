"""A broker's flow as a process of its own, so that its memory can be looked at.

``python -m tests.adversarial.sandbox.brokering`` takes one line of JSON: databases,
runner and receipt key. It opens the real flow, has an agent read a customer and an
order, says what came of each in a line, and stays until its input ends.
"""

from __future__ import annotations

import asyncio
import json
import sys
from dataclasses import replace
from pathlib import Path

from broker import flow
from broker.effects.executor import SocketExecutor
from tests.edge.lab import ISSUER, WARRANT_KEY
from tests.support.flow.executor import ORDER
from tests.support.flow.house import open_house


async def play(told: dict[str, str]) -> None:
    """Open the flow, ask for both, and keep everything until the input ends."""
    executor = SocketExecutor(
        told["runner"],
        issuer=ISSUER,
        key=WARRANT_KEY,
        receipt_key=Path(told["receipt_key"]),
    )
    async with open_house(told["broker"], owner_dsn=told["owner"]) as house:
        house.ports = replace(house.ports, executor=executor)
        interaction = await house.interaction()
        for tool, arguments in (
            ("customers.get", {}),
            ("orders.get", {"order_id": ORDER}),
        ):
            ask = house.ask(tool, interaction, **arguments)
            answer = await flow.submit(house.ports, ask)
            outcome = answer.record.outcome if answer.record else None
            shown = (outcome.result or {}) if outcome else {}
            say = {"tool": tool, "said": repr(answer), "result": dict(shown)}
            sys.stdout.write(json.dumps(say, default=str) + "\n")
            sys.stdout.flush()
        await asyncio.to_thread(sys.stdin.readline)
        await executor.close()


if __name__ == "__main__":
    asyncio.run(play(json.loads(sys.stdin.readline())))
