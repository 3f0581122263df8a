"""The same random reads for core's rule and for the SQL functions that count them."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from random import Random
from typing import Any

import asyncpg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.core.limit import admit
from broker.core.limits.window import SLIDING, bucket_since, bucket_start
from broker.core.words.budget import (
    CUSTOMERS_UNIT,
    RECORDS_UNIT,
    BudgetKey,
    Line,
    Window,
)
from broker.effects.limits.budgets import line_document
from tests.support.limits.lines import TODAY, line
from tests.support.servers import Database

STEPS = 12
KINDS: dict[str, dict[str, Any]] = {
    "customers": {"unit": CUSTOMERS_UNIT, "limit": 3},
    "records": {"unit": RECORDS_UNIT, "limit": 9},
    "sliding-records": {
        "unit": RECORDS_UNIT,
        "limit": 6,
        "window": Window.LAST_DAY,
    },
}
MEMBERS = ["ann", "ben", "cid", "dan", "eve"]


@dataclass
class Counted:
    """What core's rule says of the budgets, in memory."""

    posted: dict[BudgetKey, int] = field(default_factory=dict)
    versions: dict[BudgetKey, int] = field(default_factory=dict)
    members: set[tuple[BudgetKey, str]] = field(default_factory=set)
    slid: dict[BudgetKey, list[tuple[datetime, int]]] = field(default_factory=dict)

    def filled(self, asked: Line, at: datetime) -> Line:
        posted = self.posted.get(asked.key, 0)
        if asked.window in SLIDING:
            since = bucket_since(asked.window, at)
            slid = self.slid.get(asked.key, [])
            posted = sum(n for bucket, n in slid if bucket >= since)
        known = bool(asked.member) and (asked.key, asked.member) in self.members
        return replace(asked, posted=posted, known=known)

    def take(self, lines: list[Line], at: datetime) -> bool:
        """Count a read if every line has room and none has moved since the look."""
        filled = [self.filled(one, at) for one in lines]
        for one in lines:
            self.versions.setdefault(one.key, 0)
        moved = any(
            one.version not in {None, self.versions[one.key]} and not one.known
            for one in filled
        )
        if moved or admit(filled).over:
            return False
        for one in filled:
            if not one.known:
                self.post(one, at)
            if one.member:
                self.members.add((one.key, one.member))
        return True

    def post(self, one: Line, at: datetime) -> None:
        self.posted[one.key] = self.posted.get(one.key, 0) + one.amount
        self.versions[one.key] = self.versions.get(one.key, 0) + 1
        if one.window in SLIDING:
            bucket = bucket_start(one.window, at)
            self.slid.setdefault(one.key, []).append((bucket, one.amount))


def lines_of(random: Random, model: Counted) -> list[Line]:
    names = random.sample(sorted(KINDS), random.randint(1, len(KINDS)))
    found = []
    for name in names:
        kind = KINDS[name]
        day = 0 if kind.get("window") in SLIDING else random.randrange(2)
        made = line(
            name,
            **kind,
            window_start=TODAY + timedelta(days=day),
            member=random.choice(MEMBERS) if name == "customers" else "",
        )
        behind = random.choice([None, None, 0, 1])
        version = model.versions.get(made.key, 0)
        found.append(
            replace(made, version=None if behind is None else max(0, version - behind))
        )
    return found


async def compare(dsn: str, random: Random) -> None:
    owner = await asyncpg.connect(dsn)
    model, day = Counted(), TODAY + timedelta(hours=12)
    try:
        # Nothing stays, so that every sequence begins with empty budgets.
        await owner.execute("BEGIN")
        for _ in range(STEPS):
            at = day + timedelta(minutes=5 * random.randrange(12 * 40))
            lines = lines_of(random, model)
            documents = json.dumps([line_document(one) for one in lines])
            await owner.execute("SELECT readings_lock($1)", documents)
            if random.randrange(4):
                sql = "SELECT readings_take($1, $2)"
                said = await owner.fetchval(sql, documents, at)
                assert said == model.take(lines, at)
            else:
                more = [replace(one, amount=random.randint(1, 4)) for one in lines]
                more = [one for one in more if one.unit == RECORDS_UNIT]
                documents = json.dumps([line_document(one) for one in more])
                await owner.execute("SELECT readings_add($1, $2)", documents, at)
                for one in lines:
                    model.versions.setdefault(one.key, 0)
                for one in more:
                    model.post(one, at)
            await same(owner, model, lines, at)
    finally:
        await owner.execute("ROLLBACK")
        await owner.close()


async def same(
    owner: asyncpg.Connection[Any], model: Counted, lines: list[Line], at: datetime
) -> None:
    for member in MEMBERS:
        rows = await owner.fetch(
            "SELECT * FROM budget_totals($1, $2, NULL, $3, $4)",
            [one.budget_id for one in lines],
            [one.window_start for one in lines],
            member,
            at,
        )
        found = {(row["budget_id"], row["window_start"]): row for row in rows}
        for one in lines:
            row = found[one.key]
            counts = one.unit == CUSTOMERS_UNIT
            asked = model.filled(replace(one, member=member if counts else ""), at)
            said = (row["posted"], row["held"], row["version"], row["known"])
            assert said == (asked.posted, 0, model.versions[one.key], asked.known)


@pytest.mark.timeout(120)
def test_reads_are_counted_by_the_rule_of_core(pg_database: Database) -> None:
    @settings(max_examples=25, deadline=None)
    @given(seed=st.integers(0, 2**32))
    def alike(seed: int) -> None:
        asyncio.run(compare(pg_database.dsn(), Random(seed)))

    alike()
