"""Releasing a frozen budget over HTTP leaves a signed row that says what was seen."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from broker.core.words.budget import BudgetRow, Total, Window
from broker.core.words.moment import write_moment
from broker.registry.limits.release import RELEASE_KIND, parse_release

if TYPE_CHECKING:
    from broker.core.words.entry import AuditEntry

START = datetime(2026, 11, 23, tzinfo=UTC)
FROZEN = BudgetRow(
    budget_id="cd" * 32,
    window_start=START,
    rule_id="agent-day",
    window=Window.DAY,
    unit="USD",
    scope=(),
    total=Total(1_050, 0, 4, frozen=True, freezes=2),
    limit_seen=1_000,
)
THAWED = replace(FROZEN, budget_id="ab" * 32, total=Total(10, 0, 4, freezes=1))
WHY = {"reason": "the provider corrected its books"}


@dataclass
class Books:
    """One frozen budget and one that is not; the thaw only follows what was signed."""

    freezes: int = 2
    released: list[AuditEntry] = field(default_factory=list)

    async def budgets(self, *, budget_id, rule_id, frozen):
        now = replace(FROZEN.total, freezes=self.freezes)
        rows = (replace(FROZEN, total=now), THAWED)
        return [row for row in rows if row.budget_id.startswith(budget_id or "")]

    async def release(self, budget_id, entry):
        self.released.append(entry)
        return int(budget_id == FROZEN.budget_id)


@pytest.fixture
def books(door):
    stand_in = Books()
    door.http._transport.app.state.books = stand_in  # noqa: SLF001
    return stand_in


async def release(door, who, budget, **more):
    path = f"/v1/admin/budgets/{budget}/release"
    return await door.call("POST", path, await door.token(who), json=WHY, **more)


async def seen(door, budget):
    row = await door.registry.get(RELEASE_KIND, budget)
    return None if row is None else dict(parse_release(row))


async def test_a_release_signs_up_to_which_freeze_the_person_looked(door, books):
    answer = await release(door, "carol", FROZEN.budget_id)
    assert (answer.status_code, answer.json()["windows"]) == (200, 1)
    assert await seen(door, FROZEN.budget_id) == {write_moment(START): 2}
    assert books.released[0].detail["reason"] == WHY["reason"]


async def test_a_freeze_that_came_later_needs_a_release_of_its_own(door, books):
    await release(door, "carol", FROZEN.budget_id)
    books.freezes = 3
    assert await seen(door, FROZEN.budget_id) == {write_moment(START): 2}
    await release(door, "carol", FROZEN.budget_id)
    assert await seen(door, FROZEN.budget_id) == {write_moment(START): 3}


async def test_what_is_not_frozen_or_not_theirs_to_release_signs_nothing(door, books):
    assert (await release(door, "carol", THAWED.budget_id)).status_code == 409
    assert await seen(door, THAWED.budget_id) is None
    assert (await release(door, "alice", FROZEN.budget_id)).status_code == 403
    assert (await release(door, "carol", "00" * 32)).status_code == 404
    assert await seen(door, FROZEN.budget_id) is None
    assert [one.detail["budget"] for one in books.released] == [THAWED.budget_id]
