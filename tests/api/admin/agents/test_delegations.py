"""Who may act on whose authority, over the admin API and the command line."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from broker.cli.exits import Exit
from broker.core.words.entry import EntryKind
from broker.registry.agents import DELEGATES_MAX
from tests.support.door import PEOPLE
from tests.support.identities import AGENT_ID, OTHER_AGENT_ID
from tests.support.identity.lending import as_child, lent, own_token
from tests.support.identity.served import served_desk

if TYPE_CHECKING:
    from pathlib import Path

AT = f"/v1/admin/agents/{AGENT_ID}"
BODY = {"agent": OTHER_AGENT_ID, "reason": "it looks orders up"}


async def post(door, what: str, *, who: str = "carol", **changes):
    token = await door.token(who)
    return await door.call("POST", f"{AT}/{what}", token, json=BODY | changes)


async def test_security_lets_an_agent_delegate_and_takes_it_away_at_once(door):
    assert (await door.widened(f"{AT}/delegate", BODY))["delegates"] == [OTHER_AGENT_ID]
    parent = await own_token(door, "agent")
    child = await lent(door, parent)
    assert (await as_child(door, child)).status_code == 200
    assert (await post(door, "undelegate")).json()["delegates"] == []
    assert (await as_child(door, child)).status_code == 401
    logged = [e.detail for e in door.logged(EntryKind.AUTHORITY)]
    given, taken = [d for d in logged if d["what"].startswith("agent.")]
    assert (given["what"], taken["what"]) == ("agent.delegate", "agent.undelegate")
    assert given["changed"] == {"delegates": [None, [OTHER_AGENT_ID]]}
    assert taken["scopes"] == [f"agent:{AGENT_ID}"]


@pytest.mark.parametrize("who", ["alice", "dave"])
async def test_who_has_no_role_for_it_changes_nothing(door, who):
    assert (await post(door, "delegate", who=who)).status_code == 403
    assert (await post(door, "undelegate", who=who)).status_code == 403


@pytest.mark.parametrize("owned", [AGENT_ID, OTHER_AGENT_ID])
async def test_nobody_widens_by_delegation_what_they_own(door, owned):
    await door.change("agent", owned, owner=PEOPLE["carol"][0])
    assert (await post(door, "delegate")).status_code == 403


@pytest.mark.parametrize(
    ("row", "changes", "status"),
    [
        ({}, {"agent": AGENT_ID}, 422),
        ({}, {"agent": "0197a000-0000-7000-8000-00000000ffff"}, 404),
        ({}, {"agent": "x"}, 422),
        ({"use_case": "sales"}, {}, 422),
        ({"status": "revoked"}, {}, 409),
    ],
)
async def test_what_can_be_no_delegate_is_refused(door, row, changes, status):
    await door.change("agent", OTHER_AGENT_ID, **row)
    assert (await post(door, "delegate", **changes)).status_code == status


async def test_twice_is_a_conflict_and_so_is_taking_away_what_is_not_there(door):
    assert (await post(door, "undelegate")).status_code == 409
    await door.widened(f"{AT}/delegate", BODY)
    assert (await post(door, "delegate")).status_code == 409


async def test_an_agent_delegates_to_so_many_and_to_no_more(door):
    known = [f"0197a000-0000-7000-8000-00000000e{n:03d}" for n in range(DELEGATES_MAX)]
    await door.change("agent", AGENT_ID, delegates=known)
    assert (await post(door, "delegate")).status_code == 422
    await door.change("agent", AGENT_ID, delegates=known[1:])
    await door.widened(f"{AT}/delegate", BODY)


async def test_the_owner_of_the_delegate_does_not_approve_it_either(door):
    await door.change("agent", OTHER_AGENT_ID, owner=PEOPLE["dave"][0])
    asked = await post(door, "delegate")
    assert (await door.seconded(asked, "dave")).status_code == 403


async def test_a_delegate_that_was_revoked_meanwhile_is_not_approved(door):
    asked = await post(door, "delegate")
    await door.change("agent", OTHER_AGENT_ID, status="revoked")
    assert (await door.seconded(asked)).status_code == 409


def test_the_commands_say_who_may_act_for_whom(tmp_path: Path) -> None:
    with served_desk(tmp_path) as desk:
        words = ["agents", "delegate", "agent", "other", "--reason", "look-ups"]
        assert f"delegate  {OTHER_AGENT_ID}" in desk.say(*words, code=Exit.PENDING)
        desk.run("changes", "approve", "agent", who="dave")
        shown = desk.run("agents", "show", "agent")
        assert shown["delegates"] == [OTHER_AGENT_ID]
        said = desk.say("agents", "undelegate", "agent", "other")
        assert "delegate  " not in said
        what = [one for one in desk.what() if one.startswith("agent.")]
        assert what == ["agent.delegate", "agent.undelegate"]
