"""Permissions over the admin API: for people who may look into the registry."""

from __future__ import annotations

from datetime import timedelta

import pytest

from broker.registry.kit.permissions import DAYS_MAX, ToolUse
from tests.support.identities import AGENT_ID

PATH = "/v1/admin/permissions"


async def ask(door, who="carol", query=""):
    return await door.call("GET", f"{PATH}{query}", await door.token(who))


def dropped(found):
    return {(one["tool"], one["agent"]) for one in found["drop"]}


async def test_asked_granted_and_used_are_compared(door):
    at = door.times.now() - timedelta(days=10)
    door.identities.tools_used.append(ToolUse(AGENT_ID, "orders.get", 3, at))
    found = (await ask(door)).json()
    retail = next(one for one in found["connectors"] if one["connector"] == "retail")
    get = next(one for one in retail["tools"] if one["tool"] == "orders.get")
    assert (get["uses"], get["agents"][0]["id"]) == (3, AGENT_ID)
    assert ("orders.refund", "agent") in dropped(found)
    assert ("orders.get", "agent") not in dropped(found)
    found = (await ask(door, query="?days=9")).json()
    assert ("orders.get", "agent") in dropped(found)


@pytest.mark.parametrize(("who", "status"), [("carol", 200), ("alice", 403)])
async def test_only_who_may_look_into_the_registry_is_told(door, who, status):
    assert (await ask(door, who)).status_code == status


@pytest.mark.parametrize(
    ("days", "status"), [(1, 200), (DAYS_MAX, 200), (DAYS_MAX + 1, 422), (0, 422)]
)
async def test_days_hold_at_the_limit_and_one_past_it(door, days, status):
    assert (await ask(door, query=f"?days={days}")).status_code == status
