"""Replay 74 conversations of another shop: python -m tests.bench.replay.

A scripted agent asks for what the ground truth did, supervisors approve. Exit 0 only if
reads passed, changes waited, and the CRM ended as the ground truth does.
"""

from __future__ import annotations

import asyncio
import sys
import time

from tests.bench import servers
from tests.support.crm import Crm, running_crm
from tests.support.flow.house import open_house
from tests.support.tau.replay import Told, begin_anew, opened, replay
from tests.support.tau.truth import conversations


async def _run(lent: dict[str, str], crm: Crm) -> Told:
    told = Told()
    async with open_house(lent["broker_dsn"], owner_dsn=lent["owner_dsn"]) as house:
        shop = await opened(house, crm)
        for name, calls in conversations().items():
            if not calls:
                continue  # somebody who was refused everything
            await begin_anew(shop)
            await replay(shop, name, calls, told)
    return told


def main() -> int:
    """Replay everything, print what came of it, and return the exit status."""
    began = time.monotonic()
    with servers.lent() as lent, running_crm() as crm:
        told = asyncio.run(_run(lent, crm))
    for name, count in sorted(told.calls.items()):
        print(f"{name:<44} {count:>6}")
    print(f"{'other than the ground truth':<44} {len(told.wrong):>6}")
    for one in told.wrong:
        print(f"  {one}")
    print(f"{'seconds':<44} {time.monotonic() - began:>6.0f}")
    return 1 if told.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
