"""Catalogue B: hostile client assertions; the answer is invalid_client, no token."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from broker.core.identity.claims import ASSERTION_LIFE_S_MAX, CLOCK_AHEAD_S_MAX
from broker.core.words.entry import EntryKind
from broker.core.words.moment import write_moment
from tests.support.door import ASSERTION_TYPE, PEOPLE, WORKER_ID, slots
from tests.support.identities import (
    AGENT,
    AGENT_ID,
    ISSUER,
    NOW,
    NOW_S,
    OTHER_AGENT_ID,
    key_of,
)

OTHER = f"agent:{OTHER_AGENT_ID}"
UNIFORM = {
    "error": "invalid_client",
    "error_description": "the client could not be authenticated",
}


async def refused(door, form, error: str = "invalid_client") -> dict:
    answer = await door.ask(form)
    assert answer.status_code == 400, answer.text
    body: dict = answer.json()
    assert body["error"] == error
    assert door.logged(EntryKind.TOKEN) == []
    return body


@pytest.mark.parametrize(
    "audience",
    [
        f"{ISSUER}/oauth/token",
        f"{ISSUER}/as/par",
        [ISSUER],
        [ISSUER, "https://other.example"],
        f"{ISSUER}/",
        ISSUER[:-1],
        ISSUER + "0",
        ISSUER.upper(),
        "http://LOCALHOST:8400",
        "",
        None,
        1,
        ...,
    ],
)
async def test_the_audience_is_the_issuer_as_one_string_and_nothing_else(
    door, audience
):
    await refused(door, door.form(client_assertion=door.assertion(aud=audience)))


@pytest.mark.parametrize(
    "claims",
    [
        {"exp": ...},
        {"jti": ...},
        {"jti": ""},
        {"jti": 7},
        {"jti": "x" * 257},
        {"exp": NOW_S},
        {"exp": NOW_S - 1},
        {"exp": NOW_S + ASSERTION_LIFE_S_MAX + 1},
        {"exp": NOW_S + 10 * 365 * 86_400},
        {"exp": NOW_S + CLOCK_AHEAD_S_MAX + ASSERTION_LIFE_S_MAX + 1, "iat": ...},
        {"iat": NOW_S + CLOCK_AHEAD_S_MAX + 1},
        {"iat": NOW_S + 3600, "exp": NOW_S + 3660},
        {"nbf": NOW_S + 3600},
        {"iss": OTHER},
        {"iss": ...},
        {"iss": AGENT_ID},
        {"sub": ...},
        {"sub": AGENT_ID},
        {"sub": [AGENT]},
    ],
)
async def test_a_claim_that_is_missing_or_wrong_gets_no_token(door, claims):
    await refused(door, door.form(client_assertion=door.assertion(**claims)))


async def test_the_tolerances_are_what_they_say(door):
    for claims in (
        {"exp": NOW_S + 1},
        {"exp": NOW_S + ASSERTION_LIFE_S_MAX},
        {"iat": NOW_S + CLOCK_AHEAD_S_MAX, "exp": NOW_S + 60},
        {"iat": ..., "exp": NOW_S + ASSERTION_LIFE_S_MAX},
        {"nbf": NOW_S + CLOCK_AHEAD_S_MAX},
    ):
        answer = await door.ask(door.form(client_assertion=door.assertion(**claims)))
        assert answer.status_code == 200, claims


async def test_a_client_id_beside_the_assertion_must_be_the_same(door):
    assert (await door.ask(door.form(client_id=AGENT))).status_code == 200
    answer = await door.ask(door.form(client_id=OTHER))
    assert answer.json()["error"] == "invalid_client"


async def test_an_assertion_is_good_for_one_token(door):
    form = door.form()
    assert (await door.ask(form)).status_code == 200
    for _ in range(3):
        answer = await door.ask(form)
        assert answer.json()["error"] == "invalid_client"
    # A restart forgets nothing: both memories of assertions are SQL's.
    door.memory.forget()
    answer = await door.ask(form)
    assert answer.status_code == 400


async def test_of_fifty_equal_requests_at_once_one_gets_a_token(door):
    form = door.form()
    answers = await asyncio.gather(*(door.ask(form) for _ in range(50)))
    assert sorted(answer.status_code for answer in answers) == [200] + [400] * 49


async def test_the_same_id_under_another_clients_key_is_another_assertion(door):
    for client, key in ((AGENT, "agent"), (OTHER, "other")):
        assertion = door.assertion(client, key=key_of(key), jti="the same")
        answer = await door.ask(door.form(client_assertion=assertion))
        assert answer.status_code == 200


async def test_a_client_with_anothers_key_gets_the_answer_of_a_stranger(door):
    unknown = "agent:0197a000-0000-7000-8000-00000000ffff"
    bodies = [
        await refused(door, door.form(client_assertion=assertion))
        for assertion in (
            door.assertion(AGENT, key=key_of("other")),
            door.assertion(AGENT, key=key_of("thief")),
            door.assertion(unknown, key=key_of("agent")),
            door.assertion(unknown, key=key_of("thief")),
            door.assertion(f"person:{AGENT_ID}", key=key_of("agent")),
            door.assertion(f"agent:{PEOPLE['alice'][0]}", key=key_of("alice")),
            door.assertion(f"service:{WORKER_ID}", key=key_of("agent")),
            door.assertion(f"channel:{AGENT_ID}", key=key_of("agent")),
        )
    ]
    assert bodies == [UNIFORM] * len(bodies)


async def test_a_retired_a_future_and_a_removed_key_get_the_same_answer(door):

    (slot,) = slots("agent")
    later, earlier = NOW + timedelta(seconds=1), NOW - timedelta(seconds=1)
    for keys in (
        [slot | {"not_after": write_moment(NOW)}],
        [slot | {"not_before": write_moment(later)}],
        slots("agent-next"),
        [],
    ):
        await door.change("agent", AGENT_ID, keys=keys)
        assert await refused(door, door.form()) == UNIFORM
    within = slot | {
        "not_before": write_moment(earlier),
        "not_after": write_moment(later),
    }
    await door.change("agent", AGENT_ID, keys=[within])
    assert (await door.ask()).status_code == 200


@pytest.mark.parametrize("status", ["suspended", "revoked"])
async def test_an_agent_that_is_not_active_gets_the_answer_of_a_stranger(door, status):
    await door.change("agent", AGENT_ID, status=status)
    assert await refused(door, door.form()) == UNIFORM


async def test_two_ways_of_authenticating_at_once_are_refused(door):
    await refused(door, door.form(client_secret="x"), "invalid_request")
    answer = await door.ask(door.form(), authorization="Basic YTpi")
    assert answer.json()["error"] == "invalid_request"
    answer = await door.ask(door.form(), authorization=f"Bearer {door.assertion()}")
    assert answer.json()["error"] == "invalid_request"


@pytest.mark.parametrize(
    "changes",
    [
        {"client_assertion": ...},
        {"client_assertion": ""},
        {"client_assertion_type": ...},
        {"client_assertion_type": "jwt-bearer"},
        {"client_assertion_type": ASSERTION_TYPE.upper()},
        {"client_assertion": ..., "client_assertion_type": ..., "client_id": AGENT},
        {"client_assertion": "x", "client_id": AGENT},
    ],
)
async def test_without_an_assertion_of_this_type_nobody_is_authenticated(door, changes):
    await refused(door, door.form(**changes))


async def test_an_assertion_in_the_address_is_not_read(door):
    form = door.form()
    path = f"/oauth/token?client_assertion={form['client_assertion']}"
    answer = await door.ask(form, path=path, proof=door.proof())
    assert answer.json()["error"] == "invalid_request"
    assert form["client_assertion"] not in answer.text
