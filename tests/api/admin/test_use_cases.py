"""Use cases over HTTP: more tools need somebody who does not answer for it."""

from __future__ import annotations

import pytest

from broker.core.words.entry import EntryKind
from tests.support.door import PEOPLE, TOOLS, put
from tests.support.identities import AGENT_ID

PATH = "/v1/admin/use-cases"
RETAIL = f"{PATH}/retail-care"
NEW = "products.list"


async def change(door, what, tool=NEW, *, who="carol", use_case="retail-care"):
    return await door.call(
        "POST",
        f"{PATH}/{use_case}/{what}",
        await door.token(who),
        json={"tools": [tool], "reason": "a new connector"},
    )


async def tools(door):
    answer = await door.call("GET", PATH, await door.token("carol"))
    (found,) = answer.json()["use_cases"]
    return set(found["tools"])


async def test_a_tool_can_be_granted_once_its_use_case_has_it(door):
    grant = f"/v1/admin/agents/{AGENT_ID}/grant"
    body = {"tools": [NEW]}
    assert NEW not in await tools(door)
    early = await door.call("POST", grant, await door.token("carol"), json=body)
    assert early.status_code == 422
    added = await change(door, "add-tools")
    assert added.status_code == 200, added.text
    assert NEW in await tools(door)
    (entry,) = door.logged(EntryKind.AUTHORITY)
    assert (entry.detail["what"], entry.detail["kind"]) == (
        "use_case.add_tools",
        "use_case",
    )
    granted = await door.call("POST", grant, await door.token("carol"), json=body)
    assert granted.is_success, granted.text


async def test_a_tool_that_an_agent_holds_is_taken_from_the_agent_first(door):
    held = min(TOOLS)
    refused = await change(door, "drop-tools", held)
    assert refused.status_code == 409
    assert "ungrant" in refused.json()["hint"]
    assert held in await tools(door)
    await change(door, "add-tools")
    assert (await change(door, "drop-tools")).status_code == 200
    assert NEW not in await tools(door)


@pytest.mark.parametrize(
    ("who", "tool", "use_case", "status"),
    [
        ("alice", NEW, "retail-care", 403),
        ("dave", NEW, "retail-care", 403),
        ("carol", "no.such", "retail-care", 422),
        ("carol", NEW, "no-such", 404),
    ],
)
async def test_whoever_may_not_or_names_what_is_not_there_adds_nothing(
    door, who, tool, use_case, status
):
    answer = await change(door, "add-tools", tool, who=who, use_case=use_case)
    assert answer.status_code == status
    assert NEW not in await tools(door)


async def test_nobody_widens_a_use_case_that_they_answer_for(door):
    body = {
        "name": "Own",
        "owner": PEOPLE["carol"][0],
        "purpose": "service",
        "tools": ["orders.get"],
        "retention_days": 1,
        "release": {"id": "", "grade": "absent"},
    }
    await put(door.registry, "use_case", "own", body)
    answer = await change(door, "add-tools", use_case="own")
    assert answer.status_code == 403
    assert "answer for" in answer.json()["detail"]
    answer = await change(door, "add-tools", who="olivia", use_case="own")
    assert answer.status_code == 200
