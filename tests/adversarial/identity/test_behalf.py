"""Catalogue E: agents on behalf of employees and customers, and of nobody else."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support.door import claims_in, conversation
from tests.support.identities import (
    AGENT,
    INTERACTION_ID,
    ISSUER,
    OTHER_AGENT_ID,
    key_of,
)
from tests.support.identity.lending import (
    INTERACTION,
    as_child,
    exchange,
    lent,
    persons_token,
    refused,
)

ALONE: dict[str, Any] = {"actor_token": ..., "actor_token_type": ...}
TALK: dict[str, Any] = {"subject_token_type": INTERACTION} | ALONE


async def test_an_employees_token_lends_to_the_agent_that_it_names_alone(door):
    token = await persons_token(door)
    assert claims_in(token)["may_act"] == {"sub": AGENT}
    await refused(door, await exchange(door, token, **ALONE), "invalid_grant")
    claims = claims_in(await lent(door, token, by="agent", **ALONE))
    assert claims["sub"] == "person:0197a000-0000-7000-8000-0000000000b1"
    assert claims["act"] == {"sub": AGENT}
    (granted,) = claims["authorization_details"]
    assert granted["tools"] == ["customers.get", "orders.get", "orders.refund"]


async def test_a_token_for_delegation_opens_nothing_itself(door):
    token = await persons_token(door)
    for path in ("/v1/approvals", "/v1/tools"):
        assert (await door.call("GET", path, token)).status_code in {401, 403}


async def test_a_persons_console_token_is_not_exchanged(door):
    token = await door.token("alice")
    answer = await exchange(
        door, token, by="agent", actor_token=..., actor_token_type=...
    )
    await refused(door, answer, "invalid_grant")


async def test_what_acts_for_an_employee_may_not_approve(door):
    token = await lent(door, await persons_token(door), by="agent", **ALONE)
    url = f"{ISSUER}/v1/approvals"
    proof = door.proof("GET", url, key=key_of("agent runs"), token=token)
    answer = await door.call("GET", "/v1/approvals", token, proof=proof)
    assert answer.status_code in {401, 403}


async def test_an_employee_who_is_suspended_lends_nothing_any_more(door):
    token = await persons_token(door)
    child = await lent(door, token, by="agent", **ALONE)
    assert (await as_child(door, child, by="agent")).status_code == 200
    person_id = claims_in(token)["sub"].partition(":")[2]
    await door.change("person", person_id, status="suspended")
    assert (await as_child(door, child, by="agent")).status_code == 401
    door.journal.entries.clear()
    answer = await exchange(door, token, by="agent", **ALONE)
    await refused(door, answer, "invalid_grant")


async def test_a_customer_is_acted_for_in_their_interaction_alone(door):
    claims = claims_in(await lent(door, INTERACTION_ID, by="agent", **TALK))
    assert (claims["sub"], claims["act"]) == ("customer:ref-7", {"sub": AGENT})
    (granted,) = claims["authorization_details"]
    assert granted["interaction"] == INTERACTION_ID
    assert granted["customer"] == "ref-7" == claims["customer_ref"]
    assert "customer-7" not in json.dumps(claims)


@pytest.mark.parametrize(
    "interaction",
    [
        conversation(agent_id=OTHER_AGENT_ID),
        conversation(closed_at=conversation().opened_at),
        conversation(customer_id="", customer_ref=""),
        None,
    ],
)
async def test_no_open_interaction_with_a_customer_is_one_answer(door, interaction):
    rooms = door.desk.interactions.open
    rooms.clear()
    if interaction is not None:
        rooms[INTERACTION_ID] = interaction
    answer = await exchange(door, INTERACTION_ID, by="agent", **TALK)
    await refused(door, answer, "invalid_grant")
    assert answer.json()["error_description"].startswith("there is no such open")
