"""Conversations of another shop, replayed through the broker by a scripted agent."""

from __future__ import annotations

import pytest

from tests.support.crm import Crm
from tests.support.flow.house import open_house
from tests.support.flow.template import pg_template
from tests.support.tau.replay import Told, begin_anew, opened, replay
from tests.support.tau.truth import conversations

# Returns, exchanges, cancellations, other items and addresses, and calls meant to fail.
__all__ = ["pg_template"]

SAMPLE = ("0", "2", "46", "35", "105")


@pytest.mark.timeout(180)
async def test_reads_pass_changes_wait_for_a_person_and_end_as_the_ground_truth_does(
    crm: Crm, pg_broker_dsn: str, pg_dsn: str
) -> None:
    found, told = conversations(), Told()
    async with open_house(pg_broker_dsn, owner_dsn=pg_dsn) as house:
        shop = await opened(house, crm)
        for name in SAMPLE:
            await begin_anew(shop)
            await replay(shop, name, found[name], told)
    assert told.wrong == []
    assert told.calls["changes done"] >= 4
    assert told.calls["changes that the shop refused"] == 1
    assert told.calls["reads that failed"] >= 2
