"""The two sides of each contract: the adapter on real servers, and its fake."""

import pytest

from broker.effects.limits.budgets import PostgresBudgets
from tests.support.limits.budgets import FakeBudgets
from tests.support.limits.lines import broker_database


# A sync fixture, because making the template database runs a loop of its own.
@pytest.fixture(params=["fake", "postgres"])
def lent(request):
    return request.getfixturevalue("pg_database") if request.param != "fake" else None


@pytest.fixture
async def budgets(lent):
    if lent is None:
        yield FakeBudgets()
        return
    async with broker_database(lent) as database:
        yield PostgresBudgets(database)


@pytest.fixture
def lent_servers(request):
    """Return (database, Valkey's URL) for the real side of the rates' contract."""
    return request.getfixturevalue("pg_database"), request.getfixturevalue("valkey_url")
