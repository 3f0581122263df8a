"""What the log says about one identity is found without reading all of it."""

from __future__ import annotations

import pytest

from broker.effects.database import Database
from broker.effects.keeping import identity_past
from broker.effects.keeping.identity_past import IdentityPast
from tests.support.log.ledger import RealLedger
from tests.support.log.made import KEYS, entry_id, leaf

AGENT, OTHER = entry_id(1, salt="agent"), entry_id(2, salt="agent")


def token(number: int, agent: str) -> bytes:
    context = {"agent": agent, "kid": "kid-1"}
    return leaf(number, kind="authenticate.token", action={}, context=context)


@pytest.fixture
async def real(pg_database):
    async with RealLedger(pg_database).open() as opened:
        yield opened


async def test_entries_about_an_identity_come_in_order_and_others_do_not(
    real, pg_broker_dsn
):
    refused = {"claimed": f"agent:{AGENT}", "reasons": []}
    await real.ledger.append(
        [
            token(0, AGENT),
            token(1, OTHER),
            leaf(2),
            leaf(3, kind="authenticate.refused", action={}, context={}, detail=refused),
        ]
    )
    database = Database(pg_broker_dsn, password="")
    try:
        past = IdentityPast(database, KEYS)
        found = await past.entries(AGENT)
        assert [one.seq for one in found.rows] == [0, 3]
        assert found.more is None
        assert found.rows[0].entry["context"]["kid"] == "kid-1"
        # What does not verify proves nothing.
        assert (await IdentityPast(database, {}).entries(AGENT)).rows == []
        assert (await past.actions(AGENT)).rows == []
    finally:
        await database.close()


@pytest.mark.parametrize("page", [2, 100])
async def test_what_is_not_read_is_named_and_read_from_there(
    real, pg_broker_dsn, monkeypatch, page
):
    """The limit is lowered, so that it is met with a few entries."""
    monkeypatch.setattr(identity_past, "PAST_ENTRIES_MAX", 3)
    monkeypatch.setattr(identity_past, "_PAGE", page)
    await real.ledger.append([token(number, AGENT) for number in range(5)])
    database = Database(pg_broker_dsn, password="")
    try:
        past = IdentityPast(database, KEYS)
        first = await past.entries(AGENT)
        assert ([one.seq for one in first.rows], first.more) == ([0, 1, 2], 3)
        assert isinstance(first.more, int)
        rest = await past.entries(AGENT, first=first.more)
        assert ([one.seq for one in rest.rows], rest.more) == ([3, 4], None)
        exactly = await past.entries(AGENT, first=2)
        assert (len(exactly.rows), exactly.more) == (3, None)
    finally:
        await database.close()
