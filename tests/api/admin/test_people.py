"""People over the admin API: nobody changes their own authority."""

from __future__ import annotations

import pytest

from broker.core.jwk import public_to_jwk
from broker.core.words.entry import EntryKind
from tests.support.door import PEOPLE
from tests.support.identities import ISSUER, key_of

ALICE, CAROL = PEOPLE["alice"][0], PEOPLE["carol"][0]
ALL = "/v1/admin/people"


async def as_person(door, who, method, path, **more):
    return await door.call(method, path, await door.token(who), **more)


def somebody(**changes):
    return {
        "name": "erin",
        "roles": ["supervisor"],
        "approval_limits": {"USD": 100_000},
        "key": public_to_jwk(key_of("erin").public()),
    } | changes


async def test_an_added_person_can_sign_in(door):
    answer = await as_person(door, "carol", "POST", ALL, json=somebody())
    assert answer.status_code == 201, answer.text
    erin = answer.json()
    assert erin["approval_limits"] == {"USD": 100_000}
    form = door.form(
        client_assertion=door.assertion(erin["client_id"], key=key_of("erin")),
        resource=f"{ISSUER}/console",
    )
    token = (await door.ask(form)).json()["access_token"]
    me = (await door.call("GET", "/v1/admin/me", token)).json()
    assert (me["name"], me["roles"]) == ("erin", ["supervisor"])
    (entry,) = door.logged(EntryKind.AUTHORITY)
    assert entry.detail["what"] == "person.add"
    assert "erin" not in repr(entry.detail)


@pytest.mark.parametrize(
    "changes",
    [
        {"roles": ["king"]},
        {"approval_limits": {"USD": -1}},
        {"approval_limits": {"usd": 1}},
        {"approval_limits": {"USD": 1.5}},
        {"name": "\u0007"},
        {"key": {"kty": "oct", "k": "AA"}},
        {"id": CAROL},
    ],
)
async def test_a_person_who_is_wrong_in_one_field_is_not_added(door, changes):
    answer = await as_person(door, "carol", "POST", ALL, json=somebody(**changes))
    assert answer.status_code == 422
    assert len(await door.registry.list("person")) == len(PEOPLE)


async def test_only_an_administrator_adds_people(door):
    for who in ("alice", "olivia", "dave"):
        answer = await as_person(door, who, "POST", ALL, json=somebody())
        assert answer.status_code == 403


async def test_a_suspended_person_is_out_at_once(door):
    token = await door.token("alice")
    answer = await as_person(door, "carol", "POST", f"{ALL}/{ALICE}/suspend", json={})
    assert answer.json()["status"] == "suspended"
    assert (await door.call("GET", "/v1/approvals", token)).status_code == 401
    form = door.form(
        client_assertion=door.assertion(f"person:{ALICE}", key=key_of("alice")),
        resource=f"{ISSUER}/console",
    )
    assert (await door.ask(form)).json()["error"] == "invalid_client"
    answer = await as_person(door, "carol", "POST", f"{ALL}/{ALICE}/suspend", json={})
    assert answer.status_code == 409


async def test_everybody_sees_who_they_are_and_only_some_see_the_others(door):
    for who in PEOPLE:
        me = (await as_person(door, who, "GET", "/v1/admin/me")).json()
        assert me["name"] == who
        status = (await as_person(door, who, "GET", ALL)).status_code
        assert status == (200 if who in {"carol", "olivia", "dave"} else 403)


async def test_a_person_shows_when_their_key_was_used(door):
    await door.token("alice")
    shown = (await as_person(door, "carol", "GET", f"{ALL}/{ALICE}")).json()
    assert shown["keys"][0]["last_used"]
    shown = (await as_person(door, "carol", "GET", f"{ALL}/{PEOPLE['bob'][0]}")).json()
    assert shown["keys"][0]["last_used"] is None
    assert (await as_person(door, "carol", "GET", f"{ALL}/x")).status_code == 404
