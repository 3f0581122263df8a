"""Policies that tests publish: the demo's, with a sentence changed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from broker.cli.policy.folder import read_folder
from broker.cli.seed_policy import DEMO
from broker.registry.appetite.folder import read_sources
from tests.support.approvals.voters import change_row

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.support.flow.house import House

TWO_FROM_100 = ("context.amount <= 100000", "context.amount <= 10000")
MORE_THAN_100 = ("context.amount > 100000", "context.amount > 10000")
"""The demo's threshold between one supervisor and two, moved to 100.00."""

NO_REFUNDS = ("context.amount > 500000", "context.amount > 100")
REWORDED = ("a refund needs one supervisor", "one supervisor signs a refund")


DEMO_SOURCES = read_folder(DEMO)
LIMIT = "limit = 1_000_000"
"""How the demo's file of limits writes the daily budget of an agent."""


def made_of(file: str, old: str, new: str, *, every: bool = False) -> dict[str, Any]:
    """Return the content of the demo's policy with one file changed.

    Without ``old``, ``new`` is added to the file; ``every`` changes all places.
    """
    text = DEMO_SOURCES[file]
    assert old in text, old
    times = -1 if every else 1
    text = text.replace(old, new, times) if old else f"{text}\n{new}\n"
    return read_sources(DEMO_SOURCES | {file: text}).body()


def changed(cedar: str, *changes: tuple[str, str]) -> str:
    """Return a policy's text with some of its words replaced."""
    for old, new in changes:
        assert old in cedar, old
        cedar = cedar.replace(old, new)
    return cedar


async def publish(
    house: House,
    *changes: tuple[str, str],
    limits: dict[str, int] | None = None,
    budgets: Sequence[dict[str, Any]] = (),
) -> int:
    """Put the next version in force, as two people would; return its number.

    ``changes`` are made to the text, ``limits`` to budgets by their names, and
    ``budgets`` are added.
    """
    row = await house.registry.get("policy", "main")
    assert row is not None
    body, lowered = row.body, limits or {}
    kept = [
        one | ({"limit": lowered[one["id"]]} if one["id"] in lowered else {})
        for one in body["budgets"]
    ]
    version = int(body["version"]) + 1
    await change_row(
        house,
        row,
        version=version,
        cedar=changed(body["cedar"], *changes),
        budgets=[*kept, *budgets],
    )
    return version
