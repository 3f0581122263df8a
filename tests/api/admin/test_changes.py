"""Changes that wait: another person's word, about exactly what was asked, in time."""

from __future__ import annotations

from datetime import timedelta

import pytest

from broker.core.words.entry import EntryKind
from broker.registry.changes.proposals import CHANGE_DAYS_MAX
from tests.support.door import PEOPLE, TOOLS
from tests.support.fake_registry import signed_row
from tests.support.identities import AGENT_ID, key_of

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
    assert (await post(door, "dave", f"{CHANGE}/approve")).status_code == 409
    asked = await post(door, "carol", f"{ONE}/ungrant", tools=["orders.cancel"])
    await ask(door)
    # Whoever asked may take it back.
    taken = await post(door, "carol", f"{CHANGE}/reject", reason="a mistake")
    assert (taken.status_code, taken.json()["status"]) == (200, "rejected")
    assert (await post(door, "dave", f"{CHANGE}/approve")).status_code == 409
    assert (await post(door, "alice", f"{CHANGE}/reject")).status_code == 403
    assert await tools(door) == sorted(TOOLS)


async def test_a_change_is_about_the_row_as_it_was_and_about_no_other(door):
    await ask(door)
    await post(door, "carol", f"{ONE}/ungrant", tools=["orders.refund"])
    answer = await post(door, "dave", f"{CHANGE}/approve")
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
    answer = await post(door, "dave", f"{CHANGE}/approve")
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
    assert (await post(door, "dave", f"{CHANGE}/approve")).status_code == 403
    assert "orders.cancel" not in (await get(door, "dave", ONE)).json()["tools"]


async def test_what_is_not_possible_any_more_is_not_approved(door):
    await ask(door)
    await door.change("use_case", "retail-care", tools=TOOLS)
    answer = await post(door, "dave", f"{CHANGE}/approve")
    assert (answer.status_code, answer.json()["pointer"]) == (422, "/tools")


async def test_narrowing_waits_for_nobody_and_voids_what_waits(door):
    await ask(door)
    for what in ("suspend", "revoke"):
        assert (await post(door, "olivia", f"{ONE}/{what}")).status_code == 200
    assert (await post(door, "dave", f"{CHANGE}/approve")).status_code == 409


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
    await post(door, "dave", f"{CHANGE}/approve")
    assert await tools(door) == sorted([*TOOLS, "orders.cancel"])


async def test_a_change_that_is_not_there_is_not_found(door):
    for what in ("", "/approve", "/reject"):
        path = f"{CHANGES}/agent-x{what}"
        call = post(door, "dave", path) if what else get(door, "dave", path)
        assert (await call).status_code == 404
