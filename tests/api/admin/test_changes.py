"""Changes that wait: another person's word, about exactly what was asked, in time."""

from __future__ import annotations

from datetime import timedelta

import pytest

from broker.api.admin.changes import REVISION_MAX
from broker.core.jwk import public_to_jwk
from broker.core.words.entry import EntryKind
from broker.registry.changes.proposals import CHANGE_DAYS_MAX
from tests.support.door import PEOPLE, TOOLS, slots
from tests.support.fake_registry import signed_row
from tests.support.identities import (
    AGENT_ID,
    CHANNEL_ID,
    OTHER_AGENT_ID,
    key_of,
)

CHANGES = "/v1/admin/changes"
CHANGE = f"{CHANGES}/agent-{AGENT_ID}"
ONE = f"/v1/admin/agents/{AGENT_ID}"
CAROL, DAVE, OLIVIA = (PEOPLE[name][0] for name in ("carol", "dave", "olivia"))


async def post(door, who, path, **body):
    return await door.call("POST", path, await door.token(who), json=body)


async def get(door, who, path):
    return await door.call("GET", path, await door.token(who))


async def ask(door):
    """Ask for a tool, as carol."""
    answer = await post(door, "carol", f"{ONE}/grant", tools=["orders.cancel"])
    assert answer.status_code == 202, answer.text
    return answer


async def approve(door):
    """Approve what is there now, as dave."""
    seen = (await get(door, "dave", CHANGE)).json()["revision"]
    return await post(door, "dave", f"{CHANGE}/approve", revision=seen)


async def tools(door):
    return (await get(door, "carol", ONE)).json()["tools"]


async def test_what_waits_is_listed_with_what_it_would_bring(door):
    await ask(door)
    (waits,) = (await get(door, "dave", CHANGES)).json()["changes"]
    assert (waits["what"], waits["asked_by"]) == ("agent.grant", CAROL)
    assert waits["would_be"]["tools"] == sorted([*TOOLS, "orders.cancel"])
    assert await tools(door) == sorted(TOOLS)
    (entry,) = door.logged(EntryKind.AUTHORITY)
    assert entry.detail["what"] == "change.ask"
    assert (await get(door, "alice", CHANGES)).status_code == 403


@pytest.mark.control("1.4")
@pytest.mark.parametrize(
    ("who", "status"),
    [("carol", 403), ("alice", 403), ("olivia", 403), ("dave", 200)],
)
async def test_who_asked_has_no_role_or_owns_the_agent_approves_nothing(
    door, who, status
):
    answer = await door.seconded(await ask(door), who)
    assert answer.status_code == status, answer.text
    assert ("orders.cancel" in await tools(door)) is (status == 200)
    waiting = (await get(door, "dave", CHANGES)).json()["changes"]
    assert bool(waiting) is (status != 200)


async def test_an_approved_change_stands_in_the_log_with_both(door):
    await door.seconded(await ask(door))
    logged = {one.detail["what"]: one for one in door.logged(EntryKind.AUTHORITY)}
    assert {*logged} == {"change.ask", "agent.grant", "change.approve"}
    grant = logged["agent.grant"].detail
    assert (grant["by"], grant["seconded_by"]) == (f"person:{DAVE}", f"person:{CAROL}")
    assert {*grant["signed_by"]} == {f"person:{DAVE}", f"person:{CAROL}"}


async def test_a_change_is_approved_once_and_not_after_it_was_rejected(door):
    asked = await ask(door)
    assert (await door.seconded(asked)).status_code == 200
    assert (await approve(door)).status_code == 409
    asked = await post(door, "carol", f"{ONE}/ungrant", tools=["orders.cancel"])
    await ask(door)
    # Whoever asked may take it back.
    taken = await post(door, "carol", f"{CHANGE}/reject", reason="a mistake")
    assert (taken.status_code, taken.json()["status"]) == (200, "rejected")
    assert (await approve(door)).status_code == 409
    assert (await post(door, "alice", f"{CHANGE}/reject")).status_code == 403
    assert await tools(door) == sorted(TOOLS)


async def test_only_the_change_that_was_looked_at_is_approved(door):
    """Whoever asked could take it back and ask for more under the same name."""
    seen = (await ask(door)).json()["revision"]
    await post(door, "carol", f"{CHANGE}/reject")
    await door.change("use_case", "retail-care", tools=[*TOOLS, "orders.return"])
    swapped = await post(door, "carol", f"{ONE}/grant", tools=["orders.return"])
    assert swapped.json()["change"] == f"agent-{AGENT_ID}"
    answer = await post(door, "dave", f"{CHANGE}/approve", revision=seen)
    assert (answer.status_code, answer.json()["code"]) == (409, "conflict")
    assert "changes show" in answer.json()["hint"]
    assert await tools(door) == sorted(TOOLS)
    for named in ({}, {"revision": 0}, {"revision": REVISION_MAX + 1}):
        answer = await post(door, "dave", f"{CHANGE}/approve", **named)
        assert answer.status_code == 422
    last = {"revision": REVISION_MAX}
    assert (await post(door, "dave", f"{CHANGE}/approve", **last)).status_code == 409
    assert (await approve(door)).status_code == 200
    assert "orders.return" in await tools(door)


@pytest.mark.parametrize("whose", ["carol", "other", "channel", "worker", "agent"])
async def test_nobody_gets_a_key_that_somebody_else_has(door, whose):
    """Else one person would have two names, and could second what they asked for."""
    key = public_to_jwk(key_of(whose).public())
    person = {"name": "frank", "roles": ["security"], "key": key}
    for path, body in (
        ("/v1/admin/people", person),
        (f"/v1/admin/channels/{CHANNEL_ID}/key", {"key": key}),
        (f"{ONE}/keys", {"key": key}),
    ):
        answer = await post(door, "carol", path, **body)
        if answer.status_code == 409:
            continue  # It is their own already.
        assert (answer.status_code, answer.json()["pointer"]) == (422, "/key"), path


async def test_a_key_that_somebody_else_got_meanwhile_is_not_given_again(door):
    key = public_to_jwk(key_of("fresh").public())
    asked = await post(door, "carol", f"{ONE}/keys", key=key)
    await door.change("agent", OTHER_AGENT_ID, keys=slots("fresh"))
    answer = await door.seconded(asked)
    assert (answer.status_code, answer.json()["pointer"]) == (422, "/key")


async def test_a_change_is_about_the_row_as_it_was_and_about_no_other(door):
    await ask(door)
    await post(door, "carol", f"{ONE}/ungrant", tools=["orders.refund"])
    answer = await approve(door)
    assert answer.status_code == 409
    assert "has changed" in answer.json()["detail"]
    assert (await get(door, "dave", CHANGE)).json()["status"] == "void"
    assert "orders.refund" not in await tools(door)
    # It stands in nobody's way: the same may be asked for again.
    await door.seconded(await ask(door))
    assert "orders.refund" not in await tools(door)


async def test_a_change_waits_for_a_week_and_no_longer(door):
    await ask(door)
    door.times.moment += timedelta(days=CHANGE_DAYS_MAX) - timedelta(seconds=1)
    assert (await get(door, "dave", CHANGE)).json()["status"] == "open"
    door.times.pass_(1)
    answer = await approve(door)
    assert answer.status_code == 409
    assert "too long" in answer.json()["detail"]


async def test_only_one_change_of_a_row_waits(door):
    await ask(door)
    answer = await post(door, "carol", f"{ONE}/grant", tools=["orders.cancel"])
    assert answer.status_code == 409
    assert "changes approve" in answer.json()["hint"]


async def test_who_asked_must_still_be_allowed_to_ask(door):
    await ask(door)
    await door.change("person", CAROL, roles=["supervisor"])
    assert (await approve(door)).status_code == 403
    assert "orders.cancel" not in (await get(door, "dave", ONE)).json()["tools"]


async def test_what_is_not_possible_any_more_is_not_approved(door):
    await ask(door)
    await door.change("use_case", "retail-care", tools=TOOLS)
    answer = await approve(door)
    assert (answer.status_code, answer.json()["pointer"]) == (422, "/tools")


async def test_narrowing_waits_for_nobody_and_voids_what_waits(door):
    await ask(door)
    for what in ("suspend", "revoke"):
        assert (await post(door, "olivia", f"{ONE}/{what}")).status_code == 200
    assert (await approve(door)).status_code == 409


async def test_a_change_that_is_written_into_the_table_cannot_be_approved(door):
    await ask(door)
    row = await door.registry.get("change", f"agent-{AGENT_ID}")
    body = dict(row.body)
    body["body"] = body["body"] | {"tools": ["orders.cancel"], "tier_max": 3}
    forged = signed_row(
        type(row)(
            **{name: getattr(row, name) for name in row.__slots__}
            | {"body": body, "revision": 2}
        ),
        key=key_of("intruder"),
    )
    await door.registry.insert("change", row.row_id, 2, forged)
    await approve(door)
    assert await tools(door) == sorted([*TOOLS, "orders.cancel"])


async def test_a_change_that_is_not_there_is_not_found(door):
    for what in ("", "/approve", "/reject"):
        path = f"{CHANGES}/agent-x{what}"
        seen = {"revision": 1} if what == "/approve" else {}
        call = post(door, "dave", path, **seen) if what else get(door, "dave", path)
        assert (await call).status_code == 404
