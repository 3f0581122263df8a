"""Whose word counts for an agent, over the admin API and the command line."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from broker.cli.exits import Exit
from broker.core.words.entry import EntryKind
from broker.registry.federations import FEDERATIONS_MAX, write_federation
from tests.support.door import PEOPLE
from tests.support.identities import AGENT_ID, ISSUER
from tests.support.identity.issuers import ACCOUNT, CLUSTER, cluster, rsa, rsa_jwk
from tests.support.identity.served import served_desk

if TYPE_CHECKING:
    from pathlib import Path

AT = f"/v1/admin/agents/{AGENT_ID}"
ASKED = {
    name: value
    for name, value in write_federation(cluster()).items()
    if name != "audience"
}


async def post(door, what: str, body, *, who: str = "carol"):
    return await door.call("POST", f"{AT}/{what}", await door.token(who), json=body)


async def test_an_issuers_word_counts_once_a_second_person_says_so(door):
    answer = await post(door, "federate", {"federation": ASKED, "reason": "pods"})
    assert answer.status_code == 202, answer.text
    row = await door.registry.get("agent", AGENT_ID)
    assert "federations" not in row.body
    change = f"/v1/admin/changes/agent-{AGENT_ID}/approve"
    approved = await door.call(
        "POST", change, await door.token("dave"), json={"revision": 1}
    )
    assert approved.status_code == 200, approved.text
    row = await door.registry.get("agent", AGENT_ID)
    assert row.body["federations"] == [ASKED | {"audience": ISSUER}]


async def test_it_is_taken_away_by_one_and_ends_every_token_of_the_agent(door):
    await door.change("agent", AGENT_ID, federations=[write_federation(cluster())])
    token = await door.token()
    answer = await post(door, "unfederate", {"name": "in-cluster"})
    assert answer.json()["federations"] == []
    assert (await door.call("GET", "/v1/tools", token)).status_code == 401
    assert door.logged(EntryKind.AUTHORITY)[-1].detail["what"] == "agent.unfederate"
    assert (await post(door, "unfederate", {"name": "in-cluster"})).status_code == 409


@pytest.mark.parametrize("who", ["alice", "dave", "olivia"])
async def test_who_may_not_widen_changes_nothing(door, who):
    answer = await post(door, "federate", {"federation": ASKED}, who=who)
    assert answer.status_code == 403
    assert PEOPLE[who]


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"subject": "*"}, 202),
        ({"subject": "a b"}, 422),
        ({"jwks_url": "http://c.example/keys", "keys": []}, 422),
        ({"keys": []}, 422),
        ({"keys": [rsa_jwk(rsa(), d="AQAB")]}, 422),
        ({"agent": "x"}, 422),
    ],
)
async def test_what_is_no_federation_is_refused(door, changes, status):
    """A star is a subject like any other: it matches a star."""
    answer = await post(door, "federate", {"federation": ASKED | changes})
    assert answer.status_code == status, answer.text


async def test_one_subject_is_trusted_once_and_only_so_many_are(door):
    known = [
        write_federation(cluster(name=f"f{n}", subject=f"{ACCOUNT}-{n}"))
        for n in range(FEDERATIONS_MAX)
    ]
    await door.change("agent", AGENT_ID, federations=known[1:])
    twice = ASKED | {"subject": f"{ACCOUNT}-1"}
    assert (await post(door, "federate", {"federation": twice})).status_code == 409
    named = ASKED | {"name": "f1"}
    assert (await post(door, "federate", {"federation": named})).status_code == 409
    assert (await post(door, "federate", {"federation": ASKED})).status_code == 202
    await door.change("agent", AGENT_ID, federations=known)
    assert (await post(door, "federate", {"federation": ASKED})).status_code == 422


def test_the_commands_say_whose_word_counts(tmp_path: Path) -> None:
    pinned = tmp_path / "keys.json"
    pinned.write_text(json.dumps({"keys": [rsa_jwk(rsa())]}), encoding="utf-8")
    words = ["agents", "federate", "agent", "in-cluster", "--issuer", CLUSTER]
    words += ["--subject", ACCOUNT, "--jwks", str(pinned), "--reusable"]
    with served_desk(tmp_path) as desk:
        said = desk.say(*words, code=Exit.PENDING)
        assert f"trusts    {ACCOUNT} of {CLUSTER} (in-cluster)" in said
        desk.run("changes", "approve", "agent", who="dave")
        (found,) = desk.run("agents", "show", "agent")["federations"]
        assert (found["audience"], found["reusable"]) == (desk.url, True)
        said = desk.say("agents", "unfederate", "agent", "in-cluster")
        assert "trusts" not in said
        pinned.write_text("{}", encoding="utf-8")
        assert "JWK set" in desk.say(*words, code=Exit.FAILED)
