"""What nobody needs any more is said once a day, by whichever replica is first."""

from __future__ import annotations

from datetime import timedelta

from broker.api.admin.timeline import TIMELINE_ROWS_MAX
from broker.api.identity.widening.staleness import ROWS_READ_MAX, tell
from broker.core.words.entry import EntryKind
from broker.effects.keeping.identity_past import PAST_ACTIONS_MAX, PAST_ENTRIES_MAX
from broker.registry.keys.ages import AGENT_KEY_AGE_DAYS_MAX, UNUSED_DAYS_MAX
from tests.support.identities import AGENT_ID, OTHER_AGENT_ID, key_of


async def told(door) -> list[tuple[str, str]]:
    said: list[tuple[str, str]] = []
    await tell(door.desk, lambda word, more: said.append((word, str(more["agent"]))))
    return said


async def test_an_unused_agent_is_told_of_once_a_day_by_one_replica(door):
    await door.token()
    door.times.moment += timedelta(days=UNUSED_DAYS_MAX, seconds=1)
    await door.ask()
    assert await told(door) == [("identity_unused", OTHER_AGENT_ID)]
    assert await told(door) == []
    door.times.moment += timedelta(days=1)
    assert await told(door) == [("identity_unused", OTHER_AGENT_ID)]
    logged = door.logged(EntryKind.ALARM)
    assert [one.detail["id"] for one in logged] == [OTHER_AGENT_ID] * 2
    assert logged[0].detail["alarm"] == "identity_unused"


async def test_an_old_key_is_told_of_with_its_name_until_it_is_dropped(door):
    door.times.moment += timedelta(days=AGENT_KEY_AGE_DAYS_MAX, seconds=1)
    await door.ask()
    assert ("agent_key_too_old", AGENT_ID) in await told(door)
    kids = {one.detail["kid"] for one in door.logged(EntryKind.ALARM)}
    assert key_of("agent").kid in kids


async def test_a_revoked_agent_has_nothing_left_to_be_told_of(door):
    await door.change("agent", OTHER_AGENT_ID, status="revoked")
    door.times.moment += timedelta(days=UNUSED_DAYS_MAX, seconds=1)
    assert OTHER_AGENT_ID not in dict(await told(door)).values()


async def test_security_lists_what_should_go(door):
    door.times.moment += timedelta(days=UNUSED_DAYS_MAX, seconds=1)
    answer = await door.call("GET", "/v1/admin/keys/stale", await door.token("dave"))
    found = answer.json()["stale"]
    assert {one["name"] for one in found} == {"agent", "other"}
    assert {one["what"] for one in found} == {"identity_unused"}
    alice = await door.token("alice")
    assert (await door.call("GET", "/v1/admin/keys/stale", alice)).status_code == 403


def test_what_is_read_of_the_past_is_bounded():
    assert PAST_ACTIONS_MAX < PAST_ENTRIES_MAX
    assert ROWS_READ_MAX < TIMELINE_ROWS_MAX
