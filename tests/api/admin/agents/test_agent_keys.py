"""Keys over the admin API: rotation without a gap, and an end that is at once."""

from __future__ import annotations

import pytest

from broker.api.admin.agent_keys import OVERLAP_S
from broker.core.jwk import private_to_jwk, public_to_jwk
from broker.core.words.entry import EntryKind
from broker.registry.agents import OVERLAP_S_MAX
from tests.support.identities import AGENT, AGENT_ID, key_of
from tests.support.identity.doorstep import put

KEYS = f"/v1/admin/agents/{AGENT_ID}/keys"
NEW = key_of("rotated")


async def as_person(door, who, path, **more):
    return await door.call("POST", path, await door.token(who), **more)


async def add(door, **more):
    body = {"key": public_to_jwk(NEW.public())} | more
    return await door.seconded(await as_person(door, "carol", KEYS, json=body))


async def asks(door, key) -> int:
    form = door.form(client_assertion=door.assertion(AGENT, key=key))
    return (await door.ask(form)).status_code


@pytest.mark.control("7.3")
async def test_both_keys_get_tokens_during_the_overlap_and_one_after_it(door):
    answer = await add(door)
    assert answer.status_code == 200, answer.text
    assert await asks(door, NEW) == 200
    assert await asks(door, key_of("agent")) == 200
    door.times.pass_(OVERLAP_S)
    assert await asks(door, NEW) == 200
    assert await asks(door, key_of("agent")) == 400
    (entry,) = [
        one
        for one in door.logged(EntryKind.AUTHORITY)
        if one.detail["what"] == "agent.add_key"
    ]
    assert NEW.kid in str(entry.detail["changed"]["keys"])


@pytest.mark.control("7.3")
async def test_a_dropped_key_ends_at_once_with_the_tokens_that_it_got(door):
    token = await door.token()
    assert (await add(door)).status_code == 200
    old = key_of("agent").kid
    dropped = await as_person(door, "carol", f"{KEYS}/{old}/drop", json={})
    assert [key["kid"] for key in dropped.json()["keys"]] == [NEW.kid]
    assert (await door.call("GET", "/v1/tools", token)).status_code == 401
    assert await asks(door, key_of("agent")) == 400
    assert await asks(door, NEW) == 200
    last = await as_person(door, "carol", f"{KEYS}/{NEW.kid}/drop", json={})
    assert last.status_code == 409


async def test_a_compromised_key_ends_whatever_its_agent_began(door):
    """Retiring a key in order leaves the tokens of the other one alone."""
    token = await door.token()
    assert (await add(door)).status_code == 200
    old = key_of("agent").kid
    for compromised in (False, True):
        body = {"compromised": compromised}
        row = await door.registry.get("agent", AGENT_ID)
        dropped = await as_person(door, "carol", f"{KEYS}/{old}/drop", json=body)
        assert dropped.status_code == 200, dropped.text
        entry = door.logged(EntryKind.AUTHORITY)[-1]
        assert entry.detail["what"] == (
            "agent.key_compromised" if compromised else "agent.drop_key"
        )
        assert entry.detail["scopes"] == ([AGENT] if compromised else [])
        moved = (await door.registry.epochs([AGENT])).get(AGENT, 0)
        assert moved == int(compromised)
        assert (await door.call("GET", "/v1/tools", token)).status_code == 401
        if not compromised:
            # The row of before, as if nothing had been dropped yet.
            now = await door.registry.get("agent", AGENT_ID)
            await put(door.registry, "agent", AGENT_ID, row.body, after=now.revision)
            assert (await door.call("GET", "/v1/tools", token)).status_code == 200
    fresh = await door.ask(door.form(client_assertion=door.assertion(AGENT, key=NEW)))
    assert fresh.status_code == 200


async def test_who_may_not_and_what_is_no_key_changes_nothing(door):
    jwk = public_to_jwk(NEW.public())
    for who, body, status in (
        ("alice", {"key": jwk}, 403),
        ("olivia", {"key": jwk}, 403),  # of security, and the agent's owner
        ("carol", {"key": private_to_jwk(NEW)}, 422),
        ("carol", {"key": jwk | {"kid": "x" * 43}}, 422),
        ("carol", {"key": {}}, 422),
        ("carol", {"key": jwk, "overlap_s": -1}, 422),
        ("carol", {"key": jwk, "overlap_s": OVERLAP_S_MAX + 1}, 422),
    ):
        answer = await as_person(door, who, KEYS, json=body)
        assert answer.status_code == status, (who, answer.text)
    assert await asks(door, NEW) == 400
    assert (await add(door, overlap_s=OVERLAP_S_MAX)).status_code == 200


async def test_the_overlap_begins_when_the_key_is_approved(door):
    body = {"key": public_to_jwk(NEW.public()), "overlap_s": 3_600}
    asked = await as_person(door, "carol", KEYS, json=body)
    door.times.pass_(86_400)
    assert await asks(door, NEW) == 400
    assert (await door.seconded(asked)).status_code == 200
    door.times.pass_(3_599)
    assert await asks(door, key_of("agent")) == await asks(door, NEW) == 200
    door.times.pass_(1)
    assert await asks(door, key_of("agent")) == 400


async def test_one_person_alone_gives_no_agent_a_key_of_theirs(door):
    jwk = public_to_jwk(key_of("carol's own").public())
    asked = await as_person(door, "carol", KEYS, json={"key": jwk})
    alone = await door.seconded(asked, "carol")
    assert alone.status_code == 403
    assert await asks(door, key_of("carol's own")) == 400


async def test_a_refusal_is_tied_to_the_agent_and_the_key_that_it_came_with(door):
    assert await asks(door, key_of("stolen")) == 400
    (entry,) = door.logged(EntryKind.REFUSED)
    assert entry.detail["claimed"] == AGENT
    assert entry.detail["kid"] == key_of("stolen").kid
    form = door.form(client_assertion=door.assertion(AGENT, header={"kid": "x y"}))
    await door.ask(form)
    assert door.logged(EntryKind.REFUSED)[-1].detail["kid"] is None
