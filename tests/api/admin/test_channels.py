"""Channels over the admin API: one person silences, two give another key."""

from __future__ import annotations

from broker.core.jwk import private_to_jwk, public_to_jwk
from broker.core.words.entry import EntryKind
from broker.registry.channels import parse_channel
from tests.support.door import PEOPLE
from tests.support.identities import CHANNEL_ID, key_of

ONE = f"/v1/admin/channels/{CHANNEL_ID}"
NEW = key_of("another channel")


async def post(door, who, path, **body):
    return await door.call("POST", path, await door.token(who), json=body)


async def facts(door):
    row = await door.registry.get("channel", CHANNEL_ID)
    return parse_channel(row).facts()


async def test_a_silenced_channel_has_no_key_that_counts(door):
    assert (await facts(door)).keys
    answer = await post(door, "olivia", f"{ONE}/suspend", reason="key was stolen")
    assert (answer.status_code, answer.json()["status"]) == (200, "suspended")
    assert (await facts(door)).keys == ()
    assert (await post(door, "carol", f"{ONE}/suspend")).status_code == 409
    (entry,) = door.logged(EntryKind.AUTHORITY)
    assert entry.detail["what"] == "channel.suspend"


async def test_another_key_takes_the_place_of_the_stolen_one_once_two_agree(door):
    await post(door, "carol", f"{ONE}/suspend")
    asked = await post(door, "carol", f"{ONE}/key", key=public_to_jwk(NEW.public()))
    assert (await facts(door)).keys == ()
    assert (await door.seconded(asked, "carol")).status_code == 403
    assert (await door.seconded(asked)).status_code == 200
    assert [slot.key.kid for slot in (await facts(door)).keys] == [NEW.kid]
    again = await post(door, "carol", f"{ONE}/key", key=public_to_jwk(NEW.public()))
    assert again.status_code == 409


async def test_who_may_not_and_what_is_no_key_changes_nothing(door):
    jwk = public_to_jwk(NEW.public())
    for who, what, body, status in (
        ("alice", "suspend", {}, 403),
        ("dave", "suspend", {}, 403),
        ("dave", "key", {"key": jwk}, 403),
        ("carol", "key", {"key": private_to_jwk(NEW)}, 422),
        ("carol", "key", {"key": {}}, 422),
    ):
        answer = await post(door, who, f"{ONE}/{what}", **body)
        assert answer.status_code == status, (who, answer.text)
    assert [slot.key.kid for slot in (await facts(door)).keys] == [
        key_of("channel").kid
    ]
    missing = "/v1/admin/channels/0197a000-0000-7000-8000-00000000ffff/suspend"
    assert (await post(door, "carol", missing)).status_code == 404


async def test_a_channel_that_was_revoked_gets_no_key(door):
    await door.change("channel", CHANNEL_ID, status="revoked")
    jwk = public_to_jwk(NEW.public())
    assert (await post(door, "carol", f"{ONE}/key", key=jwk)).status_code == 409


async def test_channels_are_listed_for_who_may_look(door):
    path = "/v1/admin/channels"
    for who in PEOPLE:
        answer = await door.call("GET", path, await door.token(who))
        may = who in {"carol", "olivia", "dave"}
        assert answer.status_code == (200 if may else 403)
    (found,) = answer.json()["channels"] if may else [{"name": "webchat"}]
    assert found["name"] == "webchat"
