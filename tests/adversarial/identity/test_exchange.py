"""Catalogue E: hostile exchanges; no more on any axis, never a token, never a 5xx."""

from __future__ import annotations

import json

import pytest

from broker.core.identity.exchange import CHILD_TTL_S_MAX
from broker.core.words.entry import EntryKind
from tests.support.door import claims_in
from tests.support.identities import (
    AGENT,
    AGENT_ID,
    API,
    ENVIRONMENT,
    INTERACTION_ID,
    ISSUER,
    OTHER_AGENT_ID,
    key_of,
    signed_token,
)
from tests.support.identity.lending import (
    ACCESS_TOKEN,
    CHILD,
    as_child,
    client_of,
    details,
    exchange,
    lends,
    lent,
    more_agents,
    own_token,
    refused,
)

OTHER_INTERACTION = "0197a000-0000-7000-8000-0000000000e2"


# ------------------------------------------------------------------- what is given


async def test_a_sub_agent_gets_less_for_a_shorter_time_under_its_own_key(door):
    await lends(door)
    parent = await own_token(door, "agent", authorization_details=details(count_max=5))
    asked = details(
        tools=["orders.get"], tier_max=2, amount_max_minor_units=500, currency="USD"
    )
    answer = await exchange(door, parent, authorization_details=asked)
    body = answer.json()
    claims, above = claims_in(body["access_token"]), claims_in(parent)
    assert body["issued_token_type"] == ACCESS_TOKEN
    assert body["expires_in"] == CHILD_TTL_S_MAX == claims["exp"] - claims["iat"]
    assert (claims["sub"], claims["client_id"]) == (AGENT, CHILD)
    assert claims["act"] == {"sub": CHILD}
    assert claims["gid"] == above["gid"]
    assert claims["cnf"]["jkt"] == key_of("other runs").kid != above["cnf"]["jkt"]
    assert claims["counts"] == {above["gid"]: 5, claims["did"]: 5}
    assert claims["epochs"].items() >= above["epochs"].items()
    assert body["authorization_details"] == [
        {
            "type": "counterfoil",
            "tools": ["orders.get"],
            "amount_max_minor_units": 500,
            "currency": "USD",
            "tier_max": 2,
            "count_max": 5,
        }
    ]
    called = await as_child(door, body["access_token"])
    assert called.json()["subject"] == CHILD


async def test_every_exchange_is_an_entry_that_names_its_parent(door):
    await lends(door)
    parent = await own_token(door, "agent")
    child = claims_in(await lent(door, parent))
    entry = door.logged(EntryKind.TOKEN)[-1]
    assert entry.detail["delegation"] == {
        "principal": AGENT,
        "actors": [CHILD],
        "link": child["did"],
        "parent": claims_in(parent)["jti"],
    }
    assert entry.detail["token"] == child["jti"]
    assert entry.context["agent"] == OTHER_AGENT_ID


async def test_a_chain_reaches_three_actors_and_no_further(door):
    await more_agents(door)
    token = await own_token(door, "agent")
    for name in ("other", "a10", "a11"):
        token = await lent(door, token, by=name)
    act = claims_in(token)["act"]
    assert act == {
        "sub": client_of("a11"),
        "act": {"sub": client_of("a10"), "act": {"sub": CHILD}},
    }
    assert (await as_child(door, token, by="a11")).status_code == 200
    answer = await exchange(door, token, by="a12")
    assert answer.json()["error"] == "invalid_grant"
    assert "up to" in answer.json()["error_description"]


# ---------------------------------------------------------------------- widening


@pytest.mark.parametrize(
    ("parent", "asked"),
    [
        ({"tools": ["orders.get"]}, {"tools": ["orders.refund"]}),
        ({"interaction": INTERACTION_ID}, {"interaction": OTHER_INTERACTION}),
        ({"customer": "ref-7"}, {"customer": "ref-8"}),
        (
            {"amount_max_minor_units": 5, "currency": "USD"},
            {"amount_max_minor_units": 5, "currency": "EUR"},
        ),
    ],
)
async def test_what_parent_and_request_do_not_share_is_not_to_be_had(
    door, parent, asked
):
    await lends(door)
    token = await own_token(door, "agent", authorization_details=details(**parent))
    answer = await exchange(door, token, authorization_details=details(**asked))
    await refused(door, answer, "invalid_authorization_details")


@pytest.mark.parametrize(
    ("parent", "asked"),
    [
        (
            {"amount_max_minor_units": 5, "currency": "USD"},
            {"amount_max_minor_units": 900, "currency": "USD"},
        ),
        ({"tier_max": 1}, {"tier_max": 3}),
        ({"count_max": 2}, {"count_max": 90}),
        ({"tools": ["orders.get"]}, {"tools": ["orders.get", "orders.refund"]}),
        ({"interaction": INTERACTION_ID}, {}),
        ({"customer": "ref-7"}, {}),
    ],
)
async def test_asking_for_more_gives_what_the_parent_has(door, parent, asked):
    await lends(door)
    token = await own_token(door, "agent", authorization_details=details(**parent))
    child = await lent(door, token, authorization_details=details(**asked))
    (granted,) = claims_in(child)["authorization_details"]
    assert {name: granted[name] for name in parent} == parent


async def test_a_tool_that_only_one_of_the_two_has_is_not_lent(door):
    await lends(door)
    await door.change("agent", AGENT_ID, tools=["orders.get", "orders.refund"])
    await door.change("agent", OTHER_AGENT_ID, tools=["orders.get", "customers.get"])
    parent = await own_token(door, "agent")
    (granted,) = claims_in(await lent(door, parent))["authorization_details"]
    assert granted["tools"] == ["orders.get"]
    answer = await exchange(door, parent, scope="tool:customers.get")
    assert answer.json()["error"] == "invalid_scope"


async def test_a_child_reaches_no_tier_above_either_row(door):
    await lends(door)
    await door.change("agent", OTHER_AGENT_ID, tier_max=2)
    child = await lent(door, await own_token(door, "agent"))
    assert claims_in(child)["authorization_details"][0]["tier_max"] == 2


async def test_a_child_ends_with_its_parent(door):
    await lends(door)
    parent = await own_token(door, "agent")
    door.times.pass_(280)
    child = claims_in(await lent(door, parent))
    assert child["exp"] == claims_in(parent)["exp"]


@pytest.mark.parametrize(
    "resource",
    [f"{ISSUER}/console", f"{ISSUER}/internal", f"{ISSUER}/v2", "", f"{API}/"],
)
async def test_a_child_for_another_resource_is_an_invalid_target(door, resource):
    await lends(door)
    answer = await exchange(door, await own_token(door, "agent"), resource=resource)
    await refused(door, answer, "invalid_target")


async def test_a_child_leaves_the_door_of_its_parents_interaction_by_no_resource(door):
    await lends(door)
    bound = f"{ISSUER}/mcp/{INTERACTION_ID}"
    parent = await own_token(door, "agent", resource=bound)
    await refused(door, await exchange(door, parent, resource=API), "invalid_target")
    child = claims_in(await lent(door, parent, resource=bound))
    assert child["aud"] == bound
    assert child["customer_ref"] == "ref-7"


# ---------------------------------------------------------- tokens that do not hold


async def test_an_agent_that_was_not_registered_for_it_gets_nothing(door):
    answer = await exchange(door, await own_token(door, "agent"))
    await refused(door, answer, "invalid_grant")


async def test_delegation_has_one_direction(door):
    await lends(door)
    answer = await exchange(door, await own_token(door, "other"), by="agent")
    await refused(door, answer, "invalid_grant")


async def test_an_agent_of_another_use_case_is_not_lent_to(door):
    await lends(door)
    await door.change("agent", OTHER_AGENT_ID, use_case="sales")
    answer = await exchange(door, await own_token(door, "agent"))
    await refused(door, answer, "invalid_grant")


async def test_an_agent_does_not_act_for_itself(door):
    await door.change("agent", AGENT_ID, delegates=[AGENT_ID])
    answer = await exchange(door, await own_token(door, "agent"), by="agent")
    await refused(door, answer, "invalid_grant")


async def test_a_chain_does_not_come_back_to_one_of_its_agents(door):
    await more_agents(door)
    await door.change("agent", OTHER_AGENT_ID, delegates=[AGENT_ID])
    token = await lent_quietly(door)
    await refused(door, await exchange(door, token, by="agent"), "invalid_grant")


async def lent_quietly(door) -> str:
    """Return a child's token, and forget that it was logged."""
    token = await lent(door, await own_token(door, "agent"))
    door.journal.entries.clear()
    return token


@pytest.mark.parametrize(
    "make",
    [
        lambda: signed_token(key=key_of("stranger")),
        lambda: signed_token(iss="https://other.example"),
        lambda: signed_token(tenant="other"),
        lambda: signed_token(env="prod"),
        lambda: signed_token(typ="dpop+jwt"),
        lambda: signed_token(act={"sub": "agent:x"}),
        lambda: signed_token(act={"sub": CHILD}),
        lambda: "a.b.c",
        lambda: "x" * 9_000,
    ],
)
async def test_a_subject_token_that_is_not_ours_lends_nothing(door, make):
    await lends(door)
    await refused(door, await exchange(door, make()), "invalid_grant")


async def test_an_expired_subject_or_actor_token_lends_nothing(door):
    await lends(door)
    parent, mine = await own_token(door, "agent"), await own_token(door, "other")
    door.times.pass_(301)
    fresh = await own_token(door, "agent")
    await refused(door, await exchange(door, parent), "invalid_grant")
    await refused(door, await exchange(door, fresh, actor_token=mine), "invalid_grant")


@pytest.mark.parametrize(
    "scope", [AGENT, f"global:{ENVIRONMENT}", "grant", "instance", CHILD]
)
async def test_a_token_that_was_revoked_lends_nothing(door, scope):
    await lends(door)
    parent, mine = await own_token(door, "agent"), await own_token(door, "other")
    claims = claims_in(parent)
    scope = {
        "grant": f"grant:{claims['gid']}",
        "instance": f"instance:{claims['ins']}",
    }.get(scope, scope)
    await door.registry.revoke([scope], door.logged(EntryKind.TOKEN)[0])
    answer = await exchange(door, parent, actor_token=mine)
    await refused(door, answer, "invalid_grant")


async def test_a_bearer_token_lends_nothing(door):
    await lends(door)
    form = door.form(scope=f"interaction:{INTERACTION_ID}")
    bearer = (await door.ask(form, proof=None)).json()["access_token"]
    await refused(door, await exchange(door, bearer), "invalid_grant")


async def test_a_stolen_subject_token_needs_the_thiefs_own_token_and_permission(door):
    """It is sender-constrained to somebody else, so it opens nothing by itself."""
    await lends(door)
    parent = await own_token(door, "agent")
    alone = await exchange(door, parent, actor_token=..., actor_token_type=...)
    await refused(door, alone, "invalid_request")
    await more_agents(door)
    await refused(door, await exchange(door, parent, by="a12"), "invalid_grant")


@pytest.mark.parametrize("whose", ["agent", "a10"])
async def test_an_actor_token_of_somebody_else_is_refused(door, whose):
    await more_agents(door)
    parent = await own_token(door, "agent")
    theirs = await own_token(door, whose)
    await refused(
        door, await exchange(door, parent, actor_token=theirs), "invalid_grant"
    )


async def test_an_actor_token_under_another_key_than_the_proof_is_refused(door):
    await lends(door)
    parent, mine = await own_token(door, "agent"), await own_token(door, "other")
    answer = await exchange(
        door, parent, actor_token=mine, proof=door.proof(key=key_of("elsewhere"))
    )
    await refused(door, answer, "invalid_grant")


async def test_a_delegated_token_is_no_actor_token(door):
    await more_agents(door)
    mine = await lent_quietly(door)
    parent = await own_token(door, "agent")
    await refused(door, await exchange(door, parent, actor_token=mine), "invalid_grant")


async def test_a_delegated_token_never_stands_in_for_its_subjects_own(door):
    """Nobody reads ``sub`` alone: the parent is the principal, the child the caller."""
    await lends(door)
    child = await lent_quietly(door)
    as_parent = door.proof("GET", f"{ISSUER}/v1/tools", token=child)
    called = await door.call("GET", "/v1/tools", child, proof=as_parent)
    assert called.status_code == 401
    form = door.form(token=child)
    asked = await door.ask(form, proof=None, path="/oauth/introspect")
    assert asked.json() == {"active": False}
    # And its holder has it exchanged only into a longer chain, never into its own.
    await refused(door, await exchange(door, child), "invalid_grant")


@pytest.mark.parametrize(
    "change",
    [
        {"requested_token_type": "urn:ietf:params:oauth:token-type:refresh_token"},
        {"requested_token_type": "urn:ietf:params:oauth:token-type:id_token"},
        {"subject_token_type": "urn:ietf:params:oauth:token-type:id_token"},
        {"subject_token_type": "urn:ietf:params:oauth:token-type:jwt"},
        {"subject_token_type": ...},
        {"subject_token": ...},
        {"actor_token": ...},
        {"actor_token_type": ...},
        {"actor_token_type": "urn:ietf:params:oauth:token-type:id_token"},
    ],
)
async def test_other_types_of_tokens_are_neither_taken_nor_given(door, change):
    await lends(door)
    parent = await own_token(door, "agent")
    await refused(door, await exchange(door, parent, **change), "invalid_request")


async def test_an_act_of_the_callers_own_making_changes_nothing(door):
    await lends(door)
    parent = await own_token(door, "agent")
    act = json.dumps({"sub": "person:x"})
    child = claims_in(await lent(door, parent, act=act, may_act=act))
    assert child["act"] == {"sub": CHILD}
    assert "may_act" not in child


async def test_without_a_proof_there_is_no_delegated_token(door):
    await lends(door)
    parent = await own_token(door, "agent")
    await refused(door, await exchange(door, parent, proof=None), "invalid_dpop_proof")
    scoped = await exchange(
        door, parent, proof=None, scope=f"interaction:{INTERACTION_ID}"
    )
    await refused(door, scoped, "invalid_dpop_proof")


@pytest.mark.parametrize("who", ["alice", "worker"])
async def test_people_and_services_are_lent_nothing(door, who):
    token = await own_token(door, "agent")
    form = door.form(
        grant_type="urn:ietf:params:oauth:grant-type:token-exchange",
        subject_token=token,
        subject_token_type=ACCESS_TOKEN,
    )
    kind = {"alice": "person", "worker": "service"}[who]
    ids = {
        "alice": "0197a000-0000-7000-8000-0000000000b1",
        "worker": "0197a000-0000-7000-8000-0000000000d1",
    }
    form["client_assertion"] = door.assertion(f"{kind}:{ids[who]}", key=key_of(who))
    await refused(door, await door.ask(form), "unauthorized_client")
