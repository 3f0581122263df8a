"""Agents over the admin API: widening needs two interests, narrowing works at once."""

from __future__ import annotations

import pytest

from broker.api.admin.registry import REASON_CHARS_MAX
from broker.core.jwk import private_to_jwk, public_to_jwk
from broker.core.words.entry import EntryKind
from broker.registry.agents import AGENT_TOOLS_MAX
from broker.registry.reading import NAME_CHARS_MAX
from tests.support.door import PEOPLE, TOOLS, put
from tests.support.identities import AGENT, AGENT_ID, key_of

CAROL, DAVE, OLIVIA = (PEOPLE[name][0] for name in ("carol", "dave", "olivia"))
AGENTS = "/v1/admin/agents"
ONE = f"{AGENTS}/{AGENT_ID}"


async def as_person(door, who, method, path, **more):
    return await door.call(method, path, await door.token(who), **more)


def new_agent(**changes):
    body = {
        "name": "second-agent",
        "owner": OLIVIA,
        "use_case": "retail-care",
        "tier_max": 2,
        "tools": ["orders.get"],
        "key": public_to_jwk(key_of("second").public()),
    }
    return body | changes


def the_entry(door, what):
    """Return what was logged about a change of this name."""
    logged = door.logged(EntryKind.AUTHORITY)
    (entry,) = [one for one in logged if one.detail.get("what") == what]
    return entry


async def test_a_registered_agent_gets_tokens_once_a_second_person_agrees(door):
    answer = await as_person(door, "carol", "POST", AGENTS, json=new_agent())
    client = answer.json()["would_be"]["client_id"]

    async def asks():
        assertion = door.assertion(client, key=key_of("second"))
        return (await door.ask(door.form(client_assertion=assertion))).status_code

    assert await asks() == 400
    done = await door.seconded(answer)
    assert (done.status_code, done.json()["status"]) == (200, "approved")
    assert await asks() == 200
    entry = the_entry(door, "agent.register")
    assert entry.detail["by"] == f"person:{DAVE}"
    assert entry.detail["seconded_by"] == f"person:{CAROL}"
    row = await door.registry.get("agent", answer.json()["id"])
    assert row.by == (f"person:{CAROL}", f"person:{DAVE}")
    assert entry.detail["changed"]["keys"] == [None, [key_of("second").kid]]
    assert "second-agent" not in repr(door.registry.entries)


@pytest.mark.parametrize(
    ("changes", "pointer"),
    [
        ({"owner": "0197a000-0000-7000-8000-00000000ffff"}, "/owner"),
        ({"owner": "olivia"}, "/owner"),
        ({"use_case": "no-such"}, "/use_case"),
        ({"tools": ["payments.send"]}, "/tools"),
        ({"tools": ["orders get"]}, "/tools/0"),
        ({"tier_max": 4}, "/tier_max"),
        ({"tier_max": 0}, "/tier_max"),
        ({"tier_max": "2"}, "/tier_max"),
        ({"name": ""}, "/name"),
        ({"name": "a\r\nb"}, "/name"),
        ({"name": "\x1b[31mred"}, "/name"),
        ({"key": {}}, "/key"),
        ({"key": private_to_jwk(key_of("second"))}, "/key"),
        ({"key": public_to_jwk(key_of("second").public()) | {"kid": "other"}}, "/key"),
        ({"status": "active"}, "/status"),
        ({"reason": "x" * (REASON_CHARS_MAX + 1)}, "/reason"),
    ],
)
async def test_an_agent_that_is_wrong_in_one_field_is_not_registered(
    door, changes, pointer
):
    body = new_agent(**changes)
    answer = await as_person(door, "carol", "POST", AGENTS, json=body)
    assert (answer.status_code, answer.json()["pointer"]) == (422, pointer)
    assert len(await door.registry.list("agent")) == 2


async def test_names_tools_and_reasons_at_their_limits_are_accepted(door):
    tools = [f"orders.t{number}" for number in range(AGENT_TOOLS_MAX)]
    row = await door.registry.get("use_case", "retail-care")
    await put(
        door.registry,
        "use_case",
        "retail-care",
        dict(row.body) | {"tools": tools},
        after=1,
    )
    body = new_agent(
        name="n" * NAME_CHARS_MAX, reason="r" * REASON_CHARS_MAX, tools=tools
    )
    answer = await as_person(door, "carol", "POST", AGENTS, json=body)
    assert answer.status_code == 202, answer.text
    assert (await door.seconded(answer)).status_code == 200
    body = new_agent(name="n" * (NAME_CHARS_MAX + 1), tools=[*tools, "orders.more"])
    answer = await as_person(door, "carol", "POST", AGENTS, json=body)
    assert answer.status_code == 422


@pytest.mark.control("2.2")
async def test_an_agent_is_not_registered_above_what_its_use_case_reaches(door):
    row = await door.registry.get("use_case", "retail-care")
    reads = dict(row.body) | {"tools": ["orders.get"]}
    await put(door.registry, "use_case", "retail-care", reads, after=1)
    answer = await as_person(door, "carol", "POST", AGENTS, json=new_agent())
    assert (answer.status_code, answer.json()["pointer"]) == (422, "/tier_max")
    body = new_agent(tier_max=1)
    answer = await as_person(door, "carol", "POST", AGENTS, json=body)
    assert answer.status_code == 202, answer.text


@pytest.mark.parametrize("who", ["alice", "bob", "dave"])
async def test_without_a_role_nobody_changes_an_agent(door, who):
    for path, body in (
        (AGENTS, new_agent()),
        (f"{ONE}/suspend", {}),
        (f"{ONE}/resume", {}),
        (f"{ONE}/revoke", {}),
        (f"{ONE}/grant", {"tools": ["orders.cancel"]}),
        (f"{ONE}/ungrant", {"tools": ["orders.get"]}),
    ):
        answer = await as_person(door, who, "POST", path, json=body)
        assert answer.status_code == 403, path
        assert answer.json()["code"] == "forbidden"
    assert door.registry.entries == []


async def test_nobody_widens_an_agent_that_they_own_and_may_narrow_it(door):
    for path, body, status in (
        (AGENTS, new_agent(), 403),
        (f"{ONE}/grant", {"tools": ["orders.cancel"]}, 403),
        (f"{ONE}/suspend", {}, 200),
        (f"{ONE}/resume", {}, 403),
        (f"{ONE}/ungrant", {"tools": ["orders.get"]}, 200),
    ):
        answer = await as_person(door, "olivia", "POST", path, json=body)
        assert answer.status_code == status, path


async def test_a_revoked_agent_is_refused_at_once_and_stays_revoked(door):
    token = await door.token()
    answer = await as_person(
        door, "carol", "POST", f"{ONE}/revoke", json={"reason": "left"}
    )
    assert answer.json()["status"] == "revoked"
    assert (await door.call("GET", "/v1/tools", token)).status_code == 401
    assert (await door.ask()).json()["error"] == "invalid_client"
    assert door.registry.moved == {AGENT: 1}
    (entry,) = door.logged(EntryKind.AUTHORITY)
    assert entry.detail["scopes"] == [AGENT]
    assert entry.detail["reason"] == "left"
    for what in ("resume", "suspend", "revoke"):
        answer = await as_person(door, "carol", "POST", f"{ONE}/{what}", json={})
        assert answer.status_code == 409


async def test_a_suspended_agent_can_be_resumed_but_its_old_tokens_cannot(door):
    token = await door.token()
    await as_person(door, "carol", "POST", f"{ONE}/suspend", json={})
    assert (await door.call("GET", "/v1/tools", token)).status_code == 401
    assert (await door.widened(f"{ONE}/resume", {}))["status"] == "active"
    assert (await door.call("GET", "/v1/tools", token)).status_code == 401
    fresh = await door.token()
    assert (await door.call("GET", "/v1/tools", fresh)).status_code == 200


async def test_granted_tools_can_be_asked_for_and_taken_tools_cannot(door):
    granted = await door.widened(f"{ONE}/grant", {"tools": ["orders.cancel"]})
    assert granted["tools"] == sorted([*TOOLS, "orders.cancel"])
    token = await door.token(scope="tool:orders.cancel")
    answer = await as_person(
        door, "carol", "POST", f"{ONE}/ungrant", json={"tools": ["orders.cancel"]}
    )
    assert answer.json()["tools"] == sorted(TOOLS)
    assert (await door.call("GET", "/v1/tools", token)).status_code == 401
    answer = await door.ask(door.form(scope="tool:orders.cancel"))
    assert answer.json()["error"] == "invalid_scope"


async def test_a_ceiling_is_lowered_at_once_and_raised_by_two(door):
    token = await door.token()
    answer = await as_person(
        door, "carol", "POST", f"{ONE}/ceiling", json={"tier_max": 1}
    )
    assert (answer.status_code, answer.json()["tier_max"]) == (200, 1)
    assert (await door.call("GET", "/v1/tools", token)).status_code == 401
    answer = await as_person(
        door, "olivia", "POST", f"{ONE}/ceiling", json={"tier_max": 3}
    )
    assert answer.status_code == 403
    raised = await door.widened(f"{ONE}/ceiling", {"tier_max": 3})
    assert raised["tier_max"] == 3
    answer = await as_person(
        door, "carol", "POST", f"{ONE}/ceiling", json={"tier_max": 3}
    )
    assert answer.status_code == 409


async def test_a_tool_outside_the_use_case_cannot_be_granted(door):
    body = {"tools": ["payments.send"]}
    answer = await as_person(door, "carol", "POST", f"{ONE}/grant", json=body)
    assert (answer.status_code, answer.json()["pointer"]) == (422, "/tools")


async def test_a_change_that_changes_nothing_is_a_conflict(door):
    body = {"tools": ["orders.get"]}
    answer = await as_person(door, "carol", "POST", f"{ONE}/grant", json=body)
    assert answer.status_code == 409


async def test_an_agent_shows_its_keys_and_instances_to_who_may_look(door):
    await door.token()
    for who in ("carol", "olivia", "dave"):
        shown = (await as_person(door, who, "GET", ONE)).json()
        assert shown["keys"][0]["last_used"] == "2026-11-23T12:00:00.000000Z"
        assert len(shown["instances"]) == 1
        listed = (await as_person(door, who, "GET", AGENTS)).json()["agents"]
        assert [agent["name"] for agent in listed] == ["agent", "other"]
    assert (await as_person(door, "alice", "GET", ONE)).status_code == 403


async def test_one_instance_is_ended_and_the_others_go_on(door):
    one, other = await door.token(), door.form()
    second = door.proof(key=key_of("second machine"))
    other = (await door.ask(other, proof=second)).json()["access_token"]
    shown = (await as_person(door, "carol", "GET", ONE)).json()
    (instance,) = [
        running["id"]
        for running in shown["instances"]
        if running["jkt"] == key_of("instance").kid
    ]
    path = f"{ONE}/instances/{instance}/revoke"
    answer = await as_person(door, "carol", "POST", path, json={})
    assert answer.status_code == 200
    assert (await door.call("GET", "/v1/tools", one)).status_code == 401
    proof = door.proof(
        "GET",
        "http://127.0.0.1:8400/v1/tools",
        key=key_of("second machine"),
        token=other,
    )
    answer = await door.call("GET", "/v1/tools", other, proof=proof)
    assert answer.status_code == 200
    unknown = f"{ONE}/instances/0197a000-0000-7000-8000-00000000ffff/revoke"
    answer = await as_person(door, "carol", "POST", unknown, json={})
    assert answer.status_code == 404


async def test_an_agent_that_is_not_there_is_not_found(door):
    for agent_id in ("0197a000-0000-7000-8000-00000000ffff", "x", "%00"):
        path = f"{AGENTS}/{agent_id}"
        assert (await as_person(door, "carol", "GET", path)).status_code == 404
        answer = await as_person(door, "carol", "POST", f"{path}/suspend", json={})
        assert answer.status_code == 404


async def test_a_row_that_does_not_verify_is_not_listed(door):
    await door.registry.insert("agent", "0197a000-0000-7000-8000-00000000ffff", 1, "x")
    listed = (await as_person(door, "carol", "GET", AGENTS)).json()["agents"]
    assert len(listed) == 2


async def test_an_agents_own_token_opens_no_door_of_the_registry(door):
    for path in (AGENTS, "/v1/admin/people", "/v1/admin/me"):
        answer = await door.call("GET", path, await door.token())
        assert answer.status_code == 401


async def test_a_person_who_was_suspended_meanwhile_changes_nothing(door):
    token = await door.token("carol")
    await door.change("person", CAROL, status="suspended")
    answer = await door.call("POST", f"{ONE}/suspend", token, json={})
    assert answer.status_code == 401
