"""The switch of canaries over HTTP: two people, a notice, and off by one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from broker.registry.vigilance.rows import PER_DAY_MAX
from tests.support.approvals.office import open_office
from tests.support.approvals.voters import approve, change_person, large_refund
from tests.support.flow.house import AGENT_ID, PEOPLE

if TYPE_CHECKING:
    from tests.support.flow.house import House

PATH = "/v1/admin/canaries"
TERMS: dict[str, Any] = {
    "notice_shown": "intranet, 3 November",
    "agent": AGENT_ID,
    "per_day": 2,
}


async def test_two_people_switch_canaries_on_and_one_off_and_habits_show_between(
    house: House,
) -> None:
    await change_person(house, "bob", roles=["supervisor", "compliance"])
    record = await large_refund(house)
    async with open_office(house) as office:
        path = f"/v1/approvals/{record.approval_id}"
        await office.call("alice", "GET", path)
        await approve(house, "alice", record.approval_id)
        off = (await office.call("carol", "GET", PATH)).json()
        assert (off["status"], off["people"]) == ("off", [])
        assert "made up" in off["staff_notice"]
        asked = await office.call("carol", "POST", f"{PATH}/on", json=TERMS)
        assert asked.json()["status"] == "asked"
        alone = await office.call("carol", "POST", f"{PATH}/on", json=TERMS)
        assert alone.status_code == 403
        other = TERMS | {"notice_shown": "nowhere"}
        differs = await office.call("bob", "POST", f"{PATH}/on", json=other)
        assert differs.status_code == 409
        on = await office.call("bob", "POST", f"{PATH}/on", json=TERMS)
        assert on.json()["status"] == "on", on.text
        shown = (await office.call("carol", "GET", PATH)).json()
        (line,) = shown["people"]
        assert (line["person"], line["decided"], line["approved"]) == (
            PEOPLE["alice"],
            1,
            1,
        )
        assert line["canaries"] == 0
        why = {"reason": "over"}
        done = await office.call("carol", "POST", f"{PATH}/off", json=why)
        assert done.json()["status"] == "off"
        assert (await office.call("carol", "GET", PATH)).json()["people"] == []
        assert (await house.registry.get("canaries", "main")) is not None


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"notice_shown": ""}, 422),
        ({"per_day": PER_DAY_MAX + 1}, 422),
        ({"per_day": 0}, 422),
        ({"agent": PEOPLE["alice"]}, 404),
        ({"agent": "x"}, 422),
    ],
)
async def test_without_a_notice_or_an_agent_nothing_is_asked(
    house: House, change: dict[str, Any], status: int
) -> None:
    async with open_office(house) as office:
        answer = await office.call("carol", "POST", f"{PATH}/on", json=TERMS | change)
        assert answer.status_code == status
        refused = await office.call("alice", "POST", f"{PATH}/on", json=TERMS)
        assert refused.status_code == 403
        assert (await office.call("carol", "GET", PATH)).json()["status"] == "off"
