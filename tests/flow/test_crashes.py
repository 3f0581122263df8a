"""Die once between any two steps, then see what the others make of it.

The table of docs/crashes.md is written by this test (``CRASHES_WRITE=1``) and compared
with what really happens in every run.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from broker import flow, sweeper
from broker.core.words.action import ActionState
from tests.support.approvals.voters import approve
from tests.support.flow.crashing import Died, Fuse, fused
from tests.support.flow.house import House, open_house

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from contextlib import AbstractContextManager

    from broker.case import Ask
    from broker.core.words.subject import Interaction
    from tests.support.servers import Database

PAGE = Path(__file__).resolve().parents[2] / "docs" / "crashes.md"
AMOUNT = 1_000
NOTICED_BY = {
    "nothing": "the agent, which has no answer",
    "executing": "the sweeper, once the lease lapsed; the edge says what was sent",
    "ready": "the workflow, which settles until it has ended",
    "done": "nobody needs to",
}
HEAD = """# What a crash leaves behind

Each row is one run: the replica dies at one step, its lease lapses, another replica's
sweeper runs (and, for what people approved, the workflow asks again), and then the
agent sends the same call once more. *Left* is the action's state as the dead replica
left it, *then* what it became before the agent asked again, *in the end* after it.
Nothing is ever refunded twice, and no money stays held without an action that says why.

This page is written by tests/flow/test_crashes.py and checked in every run of it.
"""


@dataclass(frozen=True)
class Row:
    """What one crash led to."""

    step: str
    left: str
    found: str
    end: str
    refunds: int

    def line(self) -> str:
        """Return the row as the page shows it."""
        who = NOTICED_BY[self.left]
        cells = (self.step, self.left, who, self.found, self.end, str(self.refunds))
        return f"| {' | '.join(cells)} |"


async def one_crash(
    house: House,
    fuse: Fuse,
    run: Callable[[House, Fuse, Interaction], Awaitable[None]],
    ask: Callable[[House, Interaction], Ask],
) -> Row | None:
    """Run a scenario with a fuse; None if it ended before the fuse's step."""
    interaction = await house.interaction()
    await house.read_order(interaction)
    try:
        await run(house, fuse, interaction)
    except Died as died:
        where = f"{'after' if fuse.after else 'before'} `{died}`"
    else:
        return None
    left = await states(house)
    await house.lapse()
    await sweeper.interrupted(house.ports)
    await workflow(house)
    found = await states(house)
    again = await flow.submit(house.ports, ask(house, interaction))
    assert again.record is not None
    await the_books_are_right(house, again.record.state)
    return Row(
        where,
        ", ".join(left) or "nothing",
        ", ".join(found) or "nothing",
        again.record.state.value,
        len(house.executor.moved),
    )


async def the_books_are_right(house: House, state: ActionState) -> None:
    """Check that money is held or posted exactly as the end says."""
    moved = house.executor.amounts()
    waiting = {ActionState.PENDING_APPROVAL, ActionState.UNKNOWN, ActionState.EXECUTING}
    assert len(moved) <= 1
    assert await house.posted() == sum(moved)
    assert await house.held() == (AMOUNT if state in waiting else 0)


async def workflow(house: House) -> None:
    """Ask once more for what was approved, as the workflow's activity does."""
    sql = "SELECT action_id FROM action WHERE state = 'ready'"
    for row in await house.database.rows(sql):
        await flow.settle(house.ports, str(row["action_id"]))


async def states(house: House) -> list[str]:
    """Return the states of the refunds that are stored."""
    sql = "SELECT state FROM action WHERE tool = 'orders.refund' ORDER BY created_at"
    return [row["state"] for row in await house.database.rows(sql)]


async def permitted(house: House, fuse: Fuse, interaction: Interaction) -> None:
    """Submit a refund under the standing approval."""
    await flow.submit(fused(house.ports, fuse), refund(house, interaction))


async def approved(house: House, fuse: Fuse, interaction: Interaction) -> None:
    """Settle a refund that two steps before was approved by a person."""
    answer = await flow.submit(house.ports, large(house, interaction))
    assert answer.record is not None
    await approve(house, "bob", answer.record.approval_id, reason="asked the customer")
    await flow.settle(fused(house.ports, fuse), answer.record.request.action_id)


def refund(house: House, interaction: Interaction) -> Ask:
    return house.refund(interaction, AMOUNT)


def large(house: House, interaction: Interaction) -> Ask:
    return house.refund(interaction, AMOUNT, to="gift_card_5555555")


SCENARIOS = {
    "A refund under a standing approval": (permitted, refund),
    "A refund that a person approved, when it is settled": (approved, large),
}


@pytest.mark.timeout(300)
async def test_one_crash_between_any_two_steps_loses_no_money_and_moves_none_twice(
    fresh_database: Callable[[], AbstractContextManager[Database]],
) -> None:
    page = [HEAD]
    for title, (run, ask) in SCENARIOS.items():
        page += [
            f"\n## {title}\n",
            "| dies | left | who notices | then | in the end | refunds |",
            "| --- | --- | --- | --- | --- | --- |",
        ]
        at, after = 0, False
        while True:
            with fresh_database() as database:
                async with open_house(
                    database.dsn("cf_broker"), owner_dsn=database.dsn()
                ) as house:
                    row = await one_crash(house, Fuse(at, after=after), run, ask)
            if row is None:
                break
            assert row.refunds == 1, row
            page.append(row.line())
            at, after = (at + 1, False) if after else (at, True)
    text = "\n".join(page) + "\n"
    if os.environ.get("CRASHES_WRITE"):
        PAGE.write_text(text, encoding="utf-8")
    assert PAGE.read_text(encoding="utf-8") == text
