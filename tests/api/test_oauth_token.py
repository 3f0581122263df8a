"""The token endpoint: what a client gets, and what it is bound to."""

from __future__ import annotations

import json

import pytest

from broker.core.authenticate import instance_id
from broker.core.words.entry import EntryKind
from tests.support.door import (
    PEOPLE,
    TOOLS,
    WORKER_ID,
    claims_in,
    conversation,
    slots,
)
from tests.support.identities import (
    AGENT,
    AGENT_ID,
    AGENT_KEY,
    API,
    INTERACTION_ID,
    ISSUER,
    NOW_S,
    OTHER_AGENT_ID,
    key_of,
)

DETAIL = {"type": "counterfoil", "interaction": INTERACTION_ID}


def details(**more) -> str:
    return json.dumps([DETAIL | more])


async def test_a_token_is_bound_to_key_resource_instance_and_epochs(door):
    door.registry.moved[AGENT] = 1
    answer = await door.ask()
    assert answer.status_code == 200
    body = answer.json()
    assert body["token_type"] == "DPoP"
    assert body["expires_in"] == 300
    claims = claims_in(body["access_token"])
    jkt = key_of("instance").kid
    instance = instance_id(AGENT, jkt=jkt)
    grant = claims["gid"]
    assert claims | {"jti": "", "gid": ""} == {
        "iss": ISSUER,
        "sub": AGENT,
        "client_id": AGENT,
        "aud": API,
        "iat": NOW_S,
        "nbf": NOW_S,
        "exp": NOW_S + 300,
        "jti": "",
        "gid": "",
        "ins": instance,
        "ckid": AGENT_KEY.kid,
        "cnf": {"jkt": jkt},
        "tenant": "demo",
        "env": "dev",
        "pol": 0,
        "epochs": {
            "global:dev": 0,
            AGENT: 1,
            f"instance:{instance}": 0,
            f"grant:{grant}": 0,
        },
    }


async def test_no_answer_of_the_token_endpoint_may_be_kept(door):
    for answer in (await door.ask(), await door.ask({"grant_type": "x"})):
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["pragma"] == "no-cache"
        assert answer.headers["content-type"] == "application/json"


async def test_every_token_is_an_entry_without_the_token_in_it(door):
    token = await door.token()
    (entry,) = door.logged(EntryKind.TOKEN)
    assert entry.context["agent"] == AGENT_ID
    assert entry.context["kid"] == AGENT_KEY.kid
    assert entry.detail["token"] == claims_in(token)["jti"]
    assert entry.detail["token_type"] == "DPoP"
    assert token not in repr(entry)
    assert token.split(".")[2] not in repr(entry)


async def test_a_token_that_cannot_be_logged_is_not_issued(door):
    door.journal.full = True
    answer = await door.ask()
    assert answer.status_code == 503
    assert "access_token" not in answer.text
    assert answer.headers["retry-after"]


async def test_a_token_is_not_issued_while_the_database_is_away(door):
    door.registry.down = True
    answer = await door.ask()
    assert answer.status_code == 503
    assert answer.json()["error"] == "temporarily_unavailable"


async def test_without_a_proof_a_token_must_be_bound_to_one_interaction(door):
    answer = await door.ask(proof=None)
    assert answer.json()["error"] == "invalid_dpop_proof"
    for form in (
        door.form(authorization_details=details()),
        door.form(scope=f"interaction:{INTERACTION_ID}"),
        door.form(resource=f"{ISSUER}/mcp/{INTERACTION_ID}"),
    ):
        answer = await door.ask(form, proof=None)
        assert answer.status_code == 200, answer.text
        assert answer.json()["token_type"] == "Bearer"
        claims = claims_in(answer.json()["access_token"])
        assert "cnf" not in claims
        assert claims["authorization_details"][0]["interaction"] == INTERACTION_ID
        assert claims["customer_ref"] == "ref-7"


async def test_a_bound_token_may_be_narrowed_too_and_says_to_what(door):
    asked = details(
        tools=["orders.refund"], amount_max_minor_units=5000, currency="USD"
    )
    answer = await door.ask(door.form(authorization_details=asked))
    granted = answer.json()["authorization_details"]
    assert granted == [
        DETAIL
        | {
            "tools": ["orders.refund"],
            "amount_max_minor_units": 5000,
            "currency": "USD",
        }
    ]
    assert claims_in(answer.json()["access_token"])["authorization_details"] == granted


async def test_scope_and_details_together_leave_what_both_allow(door):
    form = door.form(
        scope=f"interaction:{INTERACTION_ID} tool:orders.get tool:orders.refund",
        authorization_details=details(tools=["orders.refund", "customers.get"]),
    )
    answer = await door.ask(form)
    assert answer.json()["scope"] == form["scope"]
    (granted,) = answer.json()["authorization_details"]
    assert granted["tools"] == ["orders.refund"]


@pytest.mark.parametrize(
    ("field", "value", "error"),
    [
        ("scope", "tool:orders.cancel", "invalid_scope"),
        ("scope", "tool:orders.get admin", "invalid_scope"),
        (
            "authorization_details",
            '[{"type":"counterfoil","tools":["orders.cancel"]}]',
            "invalid_authorization_details",
        ),
        (
            "authorization_details",
            '[{"type":"payment"}]',
            "invalid_authorization_details",
        ),
    ],
)
async def test_asking_for_more_than_the_row_allows_gets_no_token(
    door, field, value, error
):
    answer = await door.ask(door.form(**{field: value}))
    assert (answer.status_code, answer.json()["error"]) == (400, error)


@pytest.mark.parametrize(
    "other",
    [
        None,
        {"agent_id": OTHER_AGENT_ID},
        {"closed_at": conversation().opened_at},
    ],
)
async def test_an_interaction_that_is_unknown_foreign_or_closed_gives_one_answer(
    door, other
):
    door.desk.interactions.open.clear()
    if other is not None:
        door.desk.interactions.open[INTERACTION_ID] = conversation(**other)
    answer = await door.ask(door.form(authorization_details=details()), proof=None)
    assert answer.status_code == 400
    assert answer.json() == {
        "error": "invalid_authorization_details",
        "error_description": "there is no such open interaction for this client",
    }


@pytest.mark.parametrize(
    ("who", "client", "resource"),
    [
        ("alice", f"person:{PEOPLE['alice'][0]}", f"{ISSUER}/console"),
        ("worker", f"service:{WORKER_ID}", f"{ISSUER}/internal"),
    ],
)
async def test_people_and_services_get_bound_tokens_for_their_own_resource(
    door, who, client, resource
):
    claims = claims_in(await door.token(who))
    assert (claims["sub"], claims["aud"]) == (client, resource)
    form = door.form(
        client_assertion=door.assertion(client, key=key_of(who)), resource=resource
    )
    answer = await door.ask(form, proof=None)
    assert answer.json()["error"] == "invalid_dpop_proof"
    bound = door.form(
        client_assertion=door.assertion(client, key=key_of(who)),
        resource=resource,
        scope=f"interaction:{INTERACTION_ID}",
    )
    answer = await door.ask(bound, proof=None)
    assert answer.json()["error"] == "invalid_scope"


async def test_each_kind_of_client_has_resources_that_the_others_have_not(door):
    clients = {
        "agent": AGENT,
        "alice": f"person:{PEOPLE['alice'][0]}",
        "worker": f"service:{WORKER_ID}",
    }
    allowed = {
        "agent": {"/v1", "/mcp", f"/mcp/{INTERACTION_ID}"},
        "alice": {"/console"},
        "worker": {"/internal"},
    }
    for who, client in clients.items():
        for path in sorted(set().union(*allowed.values())):
            form = door.form(
                client_assertion=door.assertion(client, key=key_of(who)),
                resource=ISSUER + path,
            )
            answer = await door.ask(form)
            expected = 200 if path in allowed[who] else 400
            assert answer.status_code == expected, (who, path)
            if expected == 400:
                assert answer.json()["error"] == "invalid_target"


async def test_both_key_slots_of_an_agent_work_and_each_use_is_counted(door):

    await door.change("agent", AGENT_ID, keys=slots("agent", "agent-next"))
    for name in ("agent", "agent-next"):
        form = door.form(client_assertion=door.assertion(key=key_of(name)))
        assert (await door.ask(form)).status_code == 200
    uses = await door.identities.key_uses(AGENT)
    assert {use.kid: use.uses for use in uses.values()} == {
        key_of("agent").kid: 1,
        key_of("agent-next").kid: 1,
    }


async def test_each_key_that_an_agent_proves_is_an_instance_of_its_own(door):
    one = claims_in(await door.token())
    form = door.form()
    other = await door.ask(form, proof=door.proof(key=key_of("second machine")))
    claims = claims_in(other.json()["access_token"])
    assert one["ins"] != claims["ins"]
    assert len(await door.identities.instances(AGENT)) == 2


async def test_a_proof_is_good_for_one_token(door):
    proof = door.proof()
    assert (await door.ask(proof=proof)).status_code == 200
    answer = await door.ask(proof=proof)
    assert answer.json() == {
        "error": "invalid_dpop_proof",
        "error_description": "the DPoP proof was used before",
    }


async def test_too_many_keys_within_an_hour_are_refused_and_the_known_ones_go_on(door):
    door.identities.instances_max = 1
    assert (await door.ask()).status_code == 200
    answer = await door.ask(proof=door.proof(key=key_of("second machine")))
    assert answer.status_code == 429
    assert answer.json()["error"] == "temporarily_unavailable"
    assert (await door.ask()).status_code == 200


@pytest.mark.parametrize(
    ("field", "value", "error"),
    [
        ("scope", f"interaction:{INTERACTION_ID}", "invalid_scope"),
        ("resource", f"{ISSUER}/mcp/{INTERACTION_ID}", "invalid_target"),
        ("authorization_details", details(), "invalid_authorization_details"),
    ],
)
async def test_the_error_names_the_way_in_which_the_interaction_was_named(
    door, field, value, error
):
    door.desk.interactions.open.clear()
    answer = await door.ask(door.form(**{field: value}), proof=None)
    assert answer.json()["error"] == error


async def test_the_tools_of_a_narrowed_token_reach_the_caller(door):
    token = await door.token(scope="tool:orders.get")
    answer = await door.call("GET", "/v1/tools", token)
    assert answer.json()["tools"] == ["orders.get"]
    assert set(answer.json()["tools"]) < set(TOOLS)


async def test_a_nonce_is_asked_for_when_the_memory_was_lost_and_then_accepted(door):
    await door.token()
    door.memory.forget()
    form = door.form()
    answer = await door.ask(form)
    assert answer.json()["error"] == "use_dpop_nonce"
    nonce = answer.headers["dpop-nonce"]
    again = door.form()
    answer = await door.ask(again, proof=door.proof(nonce=nonce))
    assert answer.status_code == 200
    assert door.logged(EntryKind.REFUSED) == []


async def test_an_assertion_that_met_a_nonce_challenge_may_be_sent_once_more(door):
    await door.token()
    door.memory.forget()
    form = door.form()
    nonce = (await door.ask(form)).headers["dpop-nonce"]
    # Client libraries repeat the request with the same assertion and a new proof.
    answer = await door.ask(form, proof=door.proof(nonce=nonce))
    assert answer.status_code == 200
    answer = await door.ask(form, proof=door.proof(nonce=nonce))
    assert answer.json()["error"] == "invalid_client"
