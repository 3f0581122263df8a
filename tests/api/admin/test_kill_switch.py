"""The kill switch over HTTP: every token ends at once, and two let it go on."""

from __future__ import annotations

from datetime import timedelta

from broker.core.words.entry import EntryKind
from broker.registry.changes.proposals import CHANGE_DAYS_MAX
from tests.support.door import PEOPLE

PATH = "/v1/admin/kill-switch"
WHY = {"reason": "refunds run away"}
CAROL = PEOPLE["carol"][0]


async def as_person(door, who, method, path=PATH, **more):
    return await door.call(method, path, await door.token(who), **more)


async def test_stopping_ends_every_token_and_is_logged_with_its_reason(door):
    token = await door.token()
    assert (await door.call("GET", "/v1/tools", token)).status_code == 200
    answer = await as_person(door, "carol", "POST", f"{PATH}/on", json=WHY)
    assert (answer.status_code, answer.json()["on"]) == (200, True)
    assert (await door.call("GET", "/v1/tools", token)).status_code == 401
    (entry,) = door.logged(EntryKind.AUTHORITY)
    assert (entry.detail["what"], entry.detail["reason"]) == (
        "kill_switch.on",
        WHY["reason"],
    )
    assert entry.detail["scopes"] == ["global:dev"]


async def test_whoever_may_not_stop_or_gives_no_reason_stops_nothing(door):
    for who, body, status in (("alice", WHY, 403), ("carol", {}, 422)):
        answer = await as_person(door, who, "POST", f"{PATH}/on", json=body)
        assert answer.status_code == status
    assert (await as_person(door, "carol", "GET")).json() == {
        "on": False,
        "revision": 0,
        "lift_asked_by": None,
    }


async def test_it_takes_two_to_lift_it_and_both_stand_in_the_log(door):
    await as_person(door, "carol", "POST", f"{PATH}/on", json=WHY)
    asked = await as_person(door, "carol", "POST", f"{PATH}/off", json=WHY)
    assert (asked.json()["on"], asked.json()["lift_asked_by"]) == (True, CAROL)
    alone = await as_person(door, "carol", "POST", f"{PATH}/off", json=WHY)
    assert alone.status_code == 403
    done = await as_person(door, "dave", "POST", f"{PATH}/off", json=WHY)
    assert (done.status_code, done.json()["on"]) == (200, False)
    entry = door.logged(EntryKind.AUTHORITY)[-1]
    assert entry.detail["by"] == f"person:{PEOPLE['dave'][0]}"
    assert entry.detail["seconded_by"] == f"person:{CAROL}"
    again = await as_person(door, "carol", "POST", f"{PATH}/off", json=WHY)
    assert again.status_code == 409


async def test_what_a_suspended_person_asked_does_not_count_as_one_of_the_two(door):
    await as_person(door, "olivia", "POST", f"{PATH}/on", json=WHY)
    await as_person(door, "carol", "POST", f"{PATH}/off", json=WHY)
    await door.change("person", CAROL, status="suspended")
    only = await as_person(door, "dave", "POST", f"{PATH}/off", json=WHY)
    assert (only.json()["on"], only.json()["lift_asked_by"]) == (
        True,
        PEOPLE["dave"][0],
    )
    done = await as_person(door, "olivia", "POST", f"{PATH}/off", json=WHY)
    assert done.json()["on"] is False


async def test_what_was_asked_too_long_ago_is_asked_anew(door):
    for wait, lifted in (
        (timedelta(days=CHANGE_DAYS_MAX), False),
        (timedelta(days=CHANGE_DAYS_MAX, seconds=-1), True),
    ):
        await as_person(door, "olivia", "POST", f"{PATH}/on", json=WHY)
        await as_person(door, "carol", "POST", f"{PATH}/off", json=WHY)
        door.times.moment += wait
        found = await as_person(door, "dave", "POST", f"{PATH}/off", json=WHY)
        assert found.json()["on"] is not lifted
        assert found.json()["lift_asked_by"] == (None if lifted else PEOPLE["dave"][0])
