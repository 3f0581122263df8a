"""People over the admin API: nobody changes their own authority."""

from __future__ import annotations

import pytest

from broker.core.jwk import public_to_jwk
from broker.core.words.entry import EntryKind
from tests.support.door import PEOPLE
from tests.support.identities import ISSUER, key_of

ALICE, CAROL, DAVE = (PEOPLE[name][0] for name in ("alice", "carol", "dave"))
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
    erin = await door.widened(ALL, somebody())
    assert erin["approval_limits"] == {"USD": 100_000}
    form = door.form(
        client_assertion=door.assertion(erin["client_id"], key=key_of("erin")),
        resource=f"{ISSUER}/console",
    )
    token = (await door.ask(form)).json()["access_token"]
    me = (await door.call("GET", "/v1/admin/me", token)).json()
    assert (me["name"], me["roles"]) == ("erin", ["supervisor"])
    what = [one.detail["what"] for one in door.logged(EntryKind.AUTHORITY)]
    assert what == ["change.ask", "person.add", "change.approve"]
    assert "erin" not in repr(door.registry.entries)


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


async def second_administrator(door, name="erin", roles=("admin",)):
    """Add another administrator, by two; return their id."""
    body = somebody(name=name, roles=[*roles], key=public_to_jwk(key_of(name).public()))
    return (await door.widened(ALL, body))["id"]


async def test_roles_are_taken_at_once_and_given_by_two(door):
    token = await door.token("alice")
    path = f"{ALL}/{ALICE}/roles"
    answer = await as_person(door, "carol", "POST", path, json={"drop": ["supervisor"]})
    assert (answer.status_code, answer.json()["roles"]) == (200, [])
    assert (await door.call("GET", "/v1/approvals", token)).status_code == 401
    given = await door.widened(path, {"add": ["supervisor", "owner"]})
    assert given["roles"] == ["owner", "supervisor"]
    # What takes one role and gives another one widens.
    body = {"drop": ["owner"], "add": ["security"]}
    answer = await as_person(door, "carol", "POST", path, json=body)
    assert answer.status_code == 202
    answer = await as_person(door, "carol", "POST", path, json={"add": ["king"]})
    assert answer.status_code == 422


async def test_limits_are_lowered_at_once_and_raised_by_two(door):
    path = f"{ALL}/{ALICE}/limits"
    lower = {"approval_limits": {"USD": 100}}
    answer = await as_person(door, "carol", "POST", path, json=lower)
    assert (answer.status_code, answer.json()["approval_limits"]) == (200, {"USD": 100})
    raised = await door.widened(path, {"approval_limits": {"USD": 300, "EUR": 5}})
    assert raised["approval_limits"] == {"EUR": 5, "USD": 300}
    none = {"approval_limits": {"USD": 0, "EUR": 0}}
    answer = await as_person(door, "carol", "POST", path, json=none)
    assert answer.json()["approval_limits"] == {}
    answer = await as_person(door, "carol", "POST", path, json=none)
    assert answer.status_code == 409
    wrong = {"approval_limits": {"usd": 5}}
    answer = await as_person(door, "carol", "POST", path, json=wrong)
    assert answer.status_code == 422


async def test_nobody_changes_their_own_roles_or_limits(door):
    for what, body in (
        ("roles", {"add": ["supervisor"]}),
        ("roles", {"drop": ["security"]}),
        ("limits", {"approval_limits": {"USD": 1}}),
    ):
        path = f"{ALL}/{CAROL}/{what}"
        answer = await as_person(door, "carol", "POST", path, json=body)
        assert answer.status_code == 403, (what, answer.text)


async def test_nobody_seconds_a_role_of_their_own(door):
    path = f"{ALL}/{DAVE}/roles"
    asked = await as_person(door, "carol", "POST", path, json={"add": ["admin"]})
    assert (await door.seconded(asked, "dave")).status_code == 403
    assert (await door.seconded(asked, "alice")).status_code == 403
    assert (await door.seconded(asked, "olivia")).status_code == 200


async def test_a_removed_person_is_out_for_good(door):
    token = await door.token("alice")
    answer = await as_person(door, "carol", "POST", f"{ALL}/{ALICE}/remove", json={})
    assert (answer.status_code, answer.json()["status"]) == (200, "removed")
    assert (answer.json()["roles"], answer.json()["keys"]) == ([], [])
    assert (await door.call("GET", "/v1/approvals", token)).status_code == 401
    for what, body in (
        ("remove", {}),
        ("resume", {}),
        ("suspend", {}),
        ("roles", {"add": ["supervisor"]}),
        ("limits", {"approval_limits": {"USD": 1}}),
    ):
        path = f"{ALL}/{ALICE}/{what}"
        answer = await as_person(door, "carol", "POST", path, json=body)
        assert answer.status_code == 409, what


async def test_a_suspended_person_is_let_in_again_by_two(door):
    await as_person(door, "carol", "POST", f"{ALL}/{ALICE}/suspend", json={})
    back = await door.widened(f"{ALL}/{ALICE}/resume", {})
    assert back["status"] == "active"
    assert await door.token("alice")


@pytest.mark.parametrize(
    ("what", "body"),
    [("suspend", {}), ("remove", {}), ("roles", {"drop": ["admin"]})],
)
async def test_one_of_the_last_two_administrators_is_not_ended_by_one_person(
    door, what, body
):
    erin = await second_administrator(door)
    for person_id, who in ((erin, "carol"), (CAROL, "olivia")):
        if what == "roles" and who == "olivia":
            continue  # She is no administrator, and changes nobody's roles.
        path = f"{ALL}/{person_id}/{what}"
        answer = await as_person(door, who, "POST", path, json=body)
        assert (answer.status_code, answer.json()["status"]) == (202, "open")
    shown = (await as_person(door, "carol", "GET", f"{ALL}/{erin}")).json()
    assert (shown["status"], shown["roles"]) == ("active", ["admin"])
    asked = (await as_person(door, "dave", "GET", "/v1/admin/changes")).json()
    (about_erin,) = [one for one in asked["changes"] if one["id"] == erin]
    path = f"/v1/admin/changes/{about_erin['change']}/approve"
    seen = {"revision": about_erin["revision"]}
    answer = await as_person(door, "dave", "POST", path, json=seen)
    assert answer.status_code == 200, answer.text
    shown = (await as_person(door, "carol", "GET", f"{ALL}/{erin}")).json()
    assert "admin" not in shown["roles"] or shown["status"] != "active"
    assert door.registry.moved[f"person:{erin}"] == 1


async def test_with_a_third_administrator_one_person_stops_another_at_once(door):
    erin = await second_administrator(door)
    await second_administrator(door, "frank")
    answer = await as_person(door, "carol", "POST", f"{ALL}/{erin}/suspend", json={})
    assert (answer.status_code, answer.json()["status"]) == (200, "suspended")


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
