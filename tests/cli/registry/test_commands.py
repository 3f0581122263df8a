"""`counterfoil agents` and `counterfoil people`, against a door that serves HTTP."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from broker.cli.exits import Exit
from broker.client.keys import read_key
from broker.client.session import Session
from tests.support.cli.command import invoke
from tests.support.door import PEOPLE, TOOLS
from tests.support.identities import AGENT, AGENT_ID, key_of


def test_agents_are_listed_and_shown(desk):
    listed = desk.run("agents", "list")
    assert [agent["name"] for agent in listed] == ["agent", "other"]
    assert desk.run("agents", "show", "agent")["id"] == AGENT_ID
    assert desk.run("agents", "show", AGENT_ID)["name"] == "agent"
    text = desk.say("agents", "show", "agent")
    assert "agent (active)" in text
    assert "last used never" in text
    assert AGENT_ID in desk.say("agents", "list")


def test_an_agent_is_registered_with_a_key_file_that_gets_a_token(desk):
    words = ["agents", "register", "second", "--owner", "olivia"]
    words += ["--use-case", "retail-care", "--tool", "orders.get", "--tier-max", "2"]
    made = desk.run(*words, code=Exit.PENDING)["would_be"]
    key = read_key(desk.state / "clients" / "agents" / "second.jwk")
    assert key.client_id == made["client_id"]
    approved = desk.run("changes", "approve", "second", who="dave")
    assert approved["status"] == "approved"

    async def call() -> Any:
        async with Session(desk.url, client_id=key.client_id, key=key.key) as session:
            return (await session.call("GET", "/v1/tools")).checked()

    assert asyncio.run(call())["subject"] == made["client_id"]
    assert desk.what() == ["change.ask", "agent.register", "change.approve"]
    answer = desk.run(*words, code=Exit.FAILED)
    assert "there already" in answer["error"]


def test_a_use_case_gets_a_tool_before_its_agents_are_granted_it(desk):
    words = ["use-cases", "add-tools", "retail-care", "products.list"]
    assert "products.list" in desk.run(*words)["tools"]
    desk.run("agents", "grant", "agent", "products.list", code=Exit.PENDING)
    desk.run("changes", "approve", "agent", who="dave")
    listed = desk.run("use-cases", "list")
    assert (listed["name"], "products.list" in listed["tools"]) == ("retail-care", True)
    held = ["use-cases", "drop-tools", "retail-care", "products.list"]
    assert "holds products.list" in desk.run(*held, code=Exit.FAILED)["error"]
    desk.run("agents", "ungrant", "agent", "products.list")
    assert "up to tier" in desk.say(*held)
    done = [what for what in desk.what() if what.startswith("use_case")]
    assert done == ["use_case.add_tools", "use_case.drop_tools"]


def test_an_agents_life_from_suspension_to_its_end(desk):
    words = ["agents", "suspend", "agent", "--reason", "odd refunds"]
    assert desk.run(*words)["status"] == "suspended"
    desk.run("agents", "resume", "agent", code=Exit.PENDING)
    desk.run("changes", "approve", "agent", code=Exit.DENIED)
    desk.run("changes", "approve", "agent", who="dave")
    assert desk.run("agents", "show", "agent")["status"] == "active"
    assert desk.run("agents", "revoke", "agent")["status"] == "revoked"
    answer = desk.run("agents", "resume", "agent", code=Exit.FAILED)
    assert "revoked" in answer["error"]
    changed = [what for what in desk.what() if what.startswith("agent")]
    assert changed == ["agent.suspend", "agent.resume", "agent.revoke"]


def test_revoking_asks_first_unless_told_not_to(desk):
    assert "Aborted" in desk.say("agents", "revoke", "agent", code=1)
    assert "revoked" in desk.say("agents", "revoke", "agent", "--yes")


def test_tools_are_granted_and_taken_away(desk):
    asked = desk.say("agents", "grant", "agent", "orders.cancel", code=Exit.PENDING)
    assert "changes approve agent-" in asked
    assert "agent.grant of agent" in desk.say("changes", "show", "agent", who="dave")
    assert "agent.grant" in desk.say("changes", "list", who="dave")
    desk.run("changes", "approve", "agent", who="dave")
    granted = desk.run("agents", "show", "agent")
    assert granted["tools"] == sorted([*TOOLS, "orders.cancel"])
    left = desk.run("agents", "ungrant", "agent", "orders.cancel", "orders.get")
    assert left["tools"] == ["customers.get", "orders.refund"]


def test_a_key_is_rotated_by_two_and_the_earlier_one_dropped(desk):
    file = desk.state / "clients" / "agents" / "agent.next.jwk"
    (before,) = desk.run("agents", "show", "agent")["keys"]
    asked = desk.run(
        "agents", "rotate-key", "agent", "--overlap-h", "1", code=Exit.PENDING
    )
    after = read_key(file)
    assert file.stat().st_mode & 0o777 == 0o600
    assert after.client_id == asked["would_be"]["client_id"]
    assert len(desk.run("agents", "show", "agent")["keys"]) == 1
    desk.run("changes", "approve", "agent", who="dave")
    kids = [key["kid"] for key in desk.run("agents", "show", "agent")["keys"]]
    assert kids == [before["kid"], after.key.kid]
    left = desk.run("agents", "drop-key", "agent", before["kid"])
    assert [key["kid"] for key in left["keys"]] == [after.key.kid]
    answer = desk.run("agents", "drop-key", "agent", after.key.kid, code=Exit.FAILED)
    assert "only key" in answer["error"]
    assert desk.what().count("agent.drop_key") == 1
    for more in ([], ["--out", str(file)]):
        answer = desk.run("agents", "rotate-key", "agent", *more, code=Exit.FAILED)
        assert "there already" in answer["error"]


def test_a_change_is_rejected_or_taken_back(desk):
    desk.run("agents", "ceiling", "agent", "1")
    desk.run("agents", "ceiling", "agent", "3", code=Exit.PENDING)
    assert desk.run("changes", "reject", "agent")["status"] == "rejected"
    assert desk.run("changes", "list") == []
    desk.run("changes", "approve", "agent", who="dave", code=Exit.NOT_FOUND)
    assert desk.run("agents", "show", "agent")["tier_max"] == 1


def test_a_running_copy_is_ended_alone(desk):
    assert desk.run("agents", "instances", "agent") == []

    async def call() -> None:
        async with Session(desk.url, client_id=AGENT, key=key_of("agent")) as session:
            (await session.call("GET", "/v1/tools")).checked()

    asyncio.run(call())
    running = desk.run("agents", "instances", "agent")
    assert running["id"] in desk.say("agents", "instances", "agent")
    ended = desk.run("agents", "end-instance", "agent", running["id"])
    assert ended["status"] == "revoked"
    desk.run("agents", "end-instance", "agent", AGENT_ID, code=Exit.NOT_FOUND)


def test_everything_is_stopped_by_one_and_let_go_on_by_two(desk):
    assert desk.run("kill-switch", "status")["on"] is False
    desk.run("kill-switch", "on", code=Exit.USAGE)
    assert "Aborted" in desk.say("kill-switch", "on", "--reason", "odd", code=1)
    assert desk.run("kill-switch", "on", "--reason", "odd refunds")["on"] is True
    words = ["kill-switch", "off", "--reason", "found it"]
    assert desk.run(*words, code=Exit.PENDING)["on"] is True
    desk.run(*words, code=Exit.DENIED)
    assert "must confirm" in desk.say("kill-switch", "status")
    assert desk.run(*words, who="dave")["on"] is False
    assert "is off" in desk.say("kill-switch", "status")


@pytest.mark.parametrize("who", ["alice", "olivia"])
def test_who_may_not_is_told_so_and_nothing_changes(desk, who):
    words = ["agents", "grant", "agent", "orders.cancel"]
    answer = desk.run(*words, who=who, code=Exit.DENIED)
    assert answer["error"]
    assert desk.what() == []


def test_people_are_listed_shown_added_and_suspended(desk):
    assert {one["name"] for one in desk.run("people", "list")} == {*PEOPLE}
    assert "2,000.00 USD" in desk.say("people", "list")
    words = ["people", "add", "erin", "--role", "supervisor", "--limit", "USD=150000"]
    made = desk.run(*words, code=Exit.PENDING)["would_be"]
    assert made["approval_limits"] == {"USD": 150_000}
    desk.run("people", "sign-in", "erin", who="", code=Exit.DENIED)
    desk.run("changes", "approve", "erin", who="dave")
    assert desk.run("people", "sign-in", "erin", who="")["name"] == "erin"
    assert desk.run("people", "suspend", "erin")["status"] == "suspended"
    desk.run("people", "sign-in", "erin", who="", code=Exit.DENIED)
    assert desk.run("people", "show", "erin")["status"] == "suspended"


def test_roles_and_limits_narrow_at_once_and_widen_by_two(desk):
    assert desk.run("people", "roles", "alice", "--drop", "supervisor")["roles"] == []
    desk.run("people", "roles", "alice", "--add", "supervisor", code=Exit.PENDING)
    desk.run("changes", "approve", "alice", who="dave")
    assert desk.run("people", "show", "alice")["roles"] == ["supervisor"]
    lower = desk.run("people", "limits", "alice", "USD=100")
    assert lower["approval_limits"] == {"USD": 100}
    desk.run("people", "limits", "alice", "USD=101", code=Exit.PENDING)
    desk.run("people", "roles", "alice", code=Exit.USAGE)
    desk.run("people", "limits", "alice", "USD=x", code=Exit.USAGE)
    desk.run("people", "roles", "carol", "--add", "owner", code=Exit.DENIED)


def test_a_person_is_suspended_let_in_by_two_and_removed_for_good(desk):
    assert desk.run("people", "suspend", "bob")["status"] == "suspended"
    desk.run("people", "resume", "bob", code=Exit.PENDING)
    desk.run("changes", "approve", "bob", who="dave")
    assert "Aborted" in desk.say("people", "remove", "bob", code=1)
    assert "removed" in desk.say("people", "remove", "bob", "--yes")
    desk.run("people", "resume", "bob", code=Exit.FAILED)
    # carol is the only administrator: not even another person of security ends her.
    answer = desk.run("people", "remove", "carol", who="olivia", code=Exit.PENDING)
    assert answer["what"] == "person.remove"


def test_a_limit_that_is_no_number_of_minor_units_is_refused(desk):
    words = ["people", "add", "erin", "--role", "supervisor", "--limit", "2000 USD"]
    assert "minor units" in desk.run(*words, code=Exit.USAGE)["hint"]


def test_who_signed_in_is_taken_for_the_commands_that_follow(desk):
    desk.run("agents", "list", who="", code=Exit.USAGE)
    assert "signed in as carol" in desk.say("people", "sign-in", "carol", who="")
    assert desk.run("agents", "show", "agent", who="")["id"] == AGENT_ID
    note = desk.state / "clients" / "signed-in"
    assert note.stat().st_mode & 0o777 == 0o600
    assert json.loads(Path(note.read_text()).read_text())["name"] == "carol"


def test_what_is_not_there_is_named(desk):
    assert (
        "nobody" in desk.run("agents", "show", "nobody", code=Exit.NOT_FOUND)["error"]
    )
    answer = desk.run("agents", "list", who="mallory", code=Exit.NOT_FOUND)
    assert "mallory.jwk" in answer["error"]


def test_a_key_that_others_can_read_is_not_used(desk):
    path = desk.state / "clients" / "people" / "carol.jwk"
    path.chmod(0o644)
    assert "0600" in desk.run("agents", "list", code=Exit.NOT_FOUND)["error"]


def test_a_broker_that_is_not_there_is_named(desk):
    desk.url = "http://127.0.0.1:9"
    answer = desk.run("agents", "list", code=Exit.UNREACHABLE)
    assert "127.0.0.1:9" in answer["error"]


def test_without_a_running_stack_the_way_to_start_one_is_shown(tmp_path):
    result = invoke("agents", "list", "--state", str(tmp_path), "--key", "/none")
    assert result.exit_code in {Exit.NOT_FOUND, Exit.UNREACHABLE}


def test_permissions_are_shown_with_what_could_be_dropped(desk):
    found = desk.run("tools", "permissions")
    assert {one["connector"] for one in found["connectors"]} >= {"retail"}
    text = desk.say("tools", "permissions", "retail", "--days", "30")
    assert "orders.get (read)" in text
    assert "agent holds orders.get and has not used it" in text
    assert "helpdesk" not in text
    answer = desk.run("tools", "permissions", "nothing", code=Exit.NOT_FOUND)
    assert "no connector" in answer["error"]
    assert desk.run("tools", "permissions", who="alice", code=Exit.DENIED)["error"]
