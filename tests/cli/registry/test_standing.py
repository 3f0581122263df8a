"""`counterfoil standing` and `counterfoil budgets`, against a door that serves HTTP."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from broker.cli.exits import Exit
from broker.client.answers import RefusedError
from broker.client.person import PersonClient
from broker.core.jws import sign
from broker.core.words.entry import EntryKind
from broker.registry.limits.beside import LIMIT_TYP, limit_claims
from broker.registry.standing import (
    STANDING_DAYS_MAX,
    STANDING_WAITING_MAX,
    parse_standing_approval,
    standing_holds,
)
from broker.registry.vigilance.rows import RIGHT_KIND
from tests.support.door import PEOPLE, put
from tests.support.identities import AGENT_ID, key_of

PROPOSE = (
    "standing", "propose", "--tool", "orders.refund", "--agent", AGENT_ID,
    "--per-action", "5000", "--total", "20000", "--currency", "USD",
)  # fmt: skip
DAY = {"id": "day", "per": ["agent"], "unit": "USD", "window": "day", "limit": 1_000}
PAID = {"id": "paid", "per": ["object"], "unit": "USD", "window": "ever"}


def row_in_force(desk, approval_id: str) -> Any:
    row = asyncio.run(desk.door.registry.get("standing_approval", approval_id))
    return parse_standing_approval(row)


def people(desk) -> Any:
    identities = desk.door.identities
    found = [asyncio.run(identities.person(one)) for one, _ in PEOPLE.values()]
    return {one.person_id: one for one in found}


def holds(desk, approval_id: str) -> bool:
    signed = row_in_force(desk, approval_id)
    owner = PEOPLE["olivia"][0]
    return signed.approval.active and standing_holds(
        signed, people=people(desk), owner=owner
    )


def test_what_one_person_proposes_holds_once_another_has_signed_it(desk):
    made = desk.run(*PROPOSE, who="alice", code=Exit.PENDING)
    assert made["state"] == "proposed"
    assert not holds(desk, made["id"])
    words = ("standing", "sign", made["id"], "--digest", made["digest"])
    signed = desk.run(*words, who="bob")
    assert signed["state"] == "active"
    assert signed["signed_by"] == [PEOPLE["alice"][0], PEOPLE["bob"][0]]
    assert holds(desk, made["id"])
    assert desk.what() == ["standing.propose", "standing.sign"]
    last = desk.door.logged(EntryKind.AUTHORITY)[-1]
    assert last.detail["signed_by"] == [
        f"person:{PEOPLE[name][0]}" for name in ("alice", "bob")
    ]
    assert made["id"] in desk.say("standing", "list", who="bob")


async def nameable(desk) -> Any:
    client = f"person:{PEOPLE['alice'][0]}"
    async with PersonClient(desk.url, client_id=client, key=key_of("alice")) as alice:
        return await alice.standing_agents()


def test_a_supervisor_names_an_agent_and_learns_nothing_else_of_it(desk):
    words = [word if word != AGENT_ID else "agent" for word in PROPOSE]
    made = desk.run(*words, who="alice", code=Exit.PENDING)
    assert made["agents"] == [AGENT_ID]
    nobody = [word if word != AGENT_ID else "no-agent" for word in PROPOSE]
    desk.run(*nobody, who="alice", code=Exit.NOT_FOUND)
    found = asyncio.run(nameable(desk))
    assert {frozenset(one) for one in found} == {frozenset({"id", "name", "use_case"})}
    desk.run(*words, who="olivia", code=Exit.DENIED)
    asyncio.run(desk.door.change("agent", AGENT_ID, status="suspended"))
    desk.run(*words, who="alice", code=Exit.NOT_FOUND)


def test_whoever_proposed_it_does_not_sign_second(desk):
    made = desk.run(*PROPOSE, who="alice", code=Exit.PENDING)
    words = ("standing", "sign", made["id"], "--digest", made["digest"])
    assert "already" in desk.run(*words, who="alice", code=Exit.DENIED)["error"]
    assert not holds(desk, made["id"])


@pytest.mark.parametrize("who", ["carol", "dave", "olivia"])
def test_only_a_supervisor_within_their_own_limit_signs_in_advance(desk, who):
    desk.run(*PROPOSE, who=who, code=Exit.DENIED)
    above = [word if word != "5000" else "200001" for word in PROPOSE]
    desk.run(*above, who="alice", code=Exit.DENIED)
    assert desk.run("standing", "list", who="alice") == []


def test_the_owner_of_an_agent_signs_nothing_in_advance_for_it(desk):
    asyncio.run(desk.door.change("agent", AGENT_ID, owner=PEOPLE["alice"][0]))
    assert "own" in desk.run(*PROPOSE, who="alice", code=Exit.DENIED)["error"]
    made = desk.run(*PROPOSE, who="bob", code=Exit.PENDING)
    words = ("standing", "sign", made["id"], "--digest", made["digest"])
    desk.run(*words, who="alice", code=Exit.DENIED)
    assert not holds(desk, made["id"])


def test_other_terms_than_those_that_were_looked_at_are_not_signed(desk):
    made = desk.run(*PROPOSE, who="alice", code=Exit.PENDING)
    words = ("standing", "sign", made["id"], "--digest", "0" * 64)
    assert "not the terms" in desk.run(*words, who="bob", code=Exit.FAILED)["error"]
    assert row_in_force(desk, made["id"]).status == "proposed"


def test_what_is_taken_back_ends_and_moves_its_epoch_in_the_same_step(desk):
    made = desk.run(*PROPOSE, who="alice", code=Exit.PENDING)
    words = ("standing", "sign", made["id"], "--digest", made["digest"])
    desk.run(*words, who="bob")
    assert desk.run("standing", "revoke", made["id"])["state"] == "revoked"
    assert not holds(desk, made["id"])
    assert desk.door.registry.moved == {f"standing_approval:{made['id']}": 1}
    desk.run(*words, who="bob", code=Exit.FAILED)
    desk.run("standing", "revoke", made["id"], who="dave", code=Exit.DENIED)


def test_a_first_signature_that_no_longer_counts_is_not_completed(desk):
    made = desk.run(*PROPOSE, who="alice", code=Exit.PENDING)
    asyncio.run(desk.door.change("person", PEOPLE["alice"][0], status="suspended"))
    words = ("standing", "sign", made["id"], "--digest", made["digest"])
    assert "anew" in desk.run(*words, who="bob", code=Exit.FAILED)["hint"]
    assert not holds(desk, made["id"])


def suspend_right(desk, name: str) -> None:
    body = {"status": "suspended", "missed": 3, "seen": 4, "asked_by": ""}
    asyncio.run(put(desk.door.registry, RIGHT_KIND, PEOPLE[name][0], body))


def test_who_may_not_approve_signs_nothing_in_advance_either(desk):
    made = desk.run(*PROPOSE, who="alice", code=Exit.PENDING)
    words = ("standing", "sign", made["id"], "--digest", made["digest"])
    suspend_right(desk, "bob")
    assert "give it back" in desk.run(*words, who="bob", code=Exit.DENIED)["hint"]
    assert "suspended" in desk.run(*PROPOSE, who="bob", code=Exit.DENIED)["error"]
    assert not holds(desk, made["id"])


def test_a_first_signature_of_who_may_not_approve_any_more_is_not_completed(desk):
    made = desk.run(*PROPOSE, who="alice", code=Exit.PENDING)
    words = ("standing", "sign", made["id"], "--digest", made["digest"])
    suspend_right(desk, "alice")
    assert "anew" in desk.run(*words, who="bob", code=Exit.FAILED)["hint"]
    assert not holds(desk, made["id"])


def test_one_person_has_no_more_proposals_waiting_than_somebody_will_read(desk):
    registry = desk.door.registry
    made = desk.run(*PROPOSE, who="alice", code=Exit.PENDING)
    row = asyncio.run(registry.get("standing_approval", made["id"]))
    for number in range(STANDING_WAITING_MAX - 2):
        asyncio.run(put(registry, "standing_approval", f"more-{number}", row.body))
    desk.run(*PROPOSE, who="alice", code=Exit.PENDING)
    assert "wait" in desk.run(*PROPOSE, who="alice", code=Exit.FAILED)["error"]
    desk.run(*PROPOSE, who="bob", code=Exit.PENDING)
    desk.run("standing", "revoke", made["id"], who="alice")
    desk.run(*PROPOSE, who="alice", code=Exit.PENDING)


def test_an_end_too_far_away_and_constraints_that_are_none_are_refused(desk):
    days = (*PROPOSE, "--days", str(STANDING_DAYS_MAX))
    desk.run(*days, who="alice", code=Exit.PENDING)
    late = (*PROPOSE, "--days", str(STANDING_DAYS_MAX + 1))
    assert "within" in desk.run(*late, who="alice", code=Exit.FAILED)["error"]
    odd = (*PROPOSE, "--where", "amount<5")
    desk.run(*odd, who="alice", code=Exit.USAGE)
    only = (*PROPOSE, "--where", "/amount_minor_units<=900", "--where", "/why=a,b")
    found = desk.run(*only, who="alice", code=Exit.PENDING)["constraints"]
    assert found == {"/amount_minor_units": {"max": 900}, "/why": {"in": ["a", "b"]}}


@pytest.fixture
def budgeted(desk):
    """Return the desk with a policy that has two budgets."""
    body = {"version": 1, "rates": [], "budgets": [DAY, PAID]}
    asyncio.run(put(desk.door.registry, "policy", "main", body))
    return desk


def limit(desk) -> Any:
    return next(x for x in desk.run("budgets", "limits") if x["rule"] == "day")


def test_one_person_lowers_a_limit_and_two_raise_it(budgeted):
    lowered = budgeted.run("budgets", "set", "day", "400")
    assert (lowered["limit"], lowered["policy"]) == (400, 1_000)
    asked = budgeted.run("budgets", "set", "day", "900", code=Exit.PENDING)
    assert (asked["limit"], asked["proposed"]["limit"]) == (400, 900)
    words = ("budgets", "sign", "day", "900")
    assert "two" in budgeted.run(*words, code=Exit.DENIED)["error"]
    assert limit(budgeted)["limit"] == 400
    budgeted.run("budgets", "sign", "day", "901", who="dave", code=Exit.USAGE)
    assert budgeted.run(*words, who="dave")["limit"] == 900
    assert budgeted.what() == ["limit.lower", "limit.propose", "limit.raise"]
    back = budgeted.run("budgets", "set", "day", "policy", code=Exit.PENDING)
    assert back["limit"] == 900
    budgeted.run("budgets", "sign", "day", "policy", who="dave")
    assert limit(budgeted)["limit"] == 1_000


def test_no_limit_goes_above_the_policys_or_replaces_what_was_paid(budgeted):
    answer = budgeted.run("budgets", "set", "day", "1001", code=Exit.FAILED)
    assert "publish" in answer["hint"]
    budgeted.run("budgets", "set", "paid", "5", code=Exit.FAILED)
    budgeted.run("budgets", "set", "nothing", "5", code=Exit.NOT_FOUND)
    budgeted.run("budgets", "set", "day", "1.5", code=Exit.USAGE)
    budgeted.run("budgets", "set", "day", "5", who="alice", code=Exit.DENIED)
    assert limit(budgeted)["set"] is None


def test_a_lowered_limit_voids_what_was_proposed_and_old_signatures(budgeted):
    budgeted.run("budgets", "set", "day", "400")
    budgeted.run("budgets", "set", "day", "900", code=Exit.PENDING)
    budgeted.run("budgets", "set", "day", "300")
    words = ("budgets", "sign", "day", "900")
    budgeted.run(*words, who="dave", code=Exit.NOT_FOUND)
    assert limit(budgeted)["limit"] == 300


def test_a_raise_without_the_own_signature_is_refused(budgeted):
    budgeted.run("budgets", "set", "day", "400")
    claims = limit_claims(PEOPLE["dave"][0], rule_id="day", limit=900, after=1)
    forged = sign(claims, key=key_of("dave"), typ=LIMIT_TYP)

    async def post(signature: str) -> None:
        client = f"person:{PEOPLE['carol'][0]}"
        async with PersonClient(
            budgeted.url, client_id=client, key=key_of("carol")
        ) as carol:
            await carol.set_limit("day", {"limit": 900, "signature": signature})

    for signature in ("", "x.y.z", forged):
        with pytest.raises(RefusedError, match="signature") as refused:
            asyncio.run(post(signature))
        assert refused.value.status == 422
    assert limit(budgeted)["proposed"] is None


def test_the_end_of_a_standing_approval_is_written_as_it_is_signed(desk):
    made = desk.run(*PROPOSE, "--days", "3", who="alice", code=Exit.PENDING)
    ends = datetime.fromisoformat(made["expires_at"])
    assert timedelta(days=2) < ends - datetime.now(UTC) < timedelta(days=4)
