"""Unknown outcomes over HTTP: a person looks, signs, and the money follows, once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest_asyncio

from broker import flow
from tests.support.approvals.office import Office, open_office
from tests.support.flow.house import open_house
from tests.support.flow.unknowns import resolution, unclear_refund

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from httpx import Response

PATH = "/v1/admin/actions"


@pytest_asyncio.fixture
async def office(pg_broker_dsn: str, pg_dsn: str) -> AsyncIterator[Office]:
    async with (
        open_house(pg_broker_dsn, owner_dsn=pg_dsn) as house,
        open_office(house) as opened,
    ):
        yield opened


async def resolve(
    office: Office, who: str, action_id: str, *, body: dict[str, Any], **claims: Any
) -> Response:
    said = {"happened": True, "reason": "R-7 shows it"}
    signature = resolution(office.house, who, action_id, **said | claims)
    sent = {**said, "signature": signature, **body}
    return await office.call(who, "POST", f"{PATH}/{action_id}/resolve", json=sent)


async def test_a_person_looks_signs_and_the_money_follows_once(office: Office) -> None:
    action_id = await unclear_refund(office.house, 1_000)
    [row] = (await office.call("alice", "GET", f"{PATH}/unknown")).json()["unknown"]
    assert row["action"] == action_id
    assert row["tool"] == "orders.refund"
    assert row["amount"]["text"] == "10.00 USD"
    assert row["receipt"] == "the request left the edge and no answer came back"
    assert (row["may_resolve"], row["why_not"]) == (True, None)
    # A test under load may have begun a while ago; minutes or milliseconds show here.
    assert 0 <= row["age_s"] < 600
    claims = {"digest": row["digest"], "amount_minor_units": 900}
    body = {"amount_minor_units": 900}
    for repeated in (False, True):
        answer = await resolve(office, "alice", action_id, body=body, **claims)
        assert answer.status_code == 200, answer.text
        assert answer.json() == {
            "action": action_id,
            "state": "done",
            "repeated": repeated,
        }
    assert (await office.house.held(), await office.house.posted()) == (0, 900)
    late = await resolve(office, "bob", action_id, body={}, digest=row["digest"])
    assert (late.status_code, late.json()["code"]) == (409, "conflict")
    listed = (await office.call("alice", "GET", f"{PATH}/unknown")).json()
    assert listed == {"unknown": []}


async def test_what_is_said_beside_the_signature_must_be_what_was_signed(
    office: Office,
) -> None:
    action_id = await unclear_refund(office.house, 1_000)
    for body in (
        {"happened": False},
        {"amount_minor_units": 5},
        {"reason": "another"},
        {"signature": "x"},
        {"amount_minor_units": 0},
        {"amount_minor_units": -1},
        {"reason": ""},
        {"more": 1},
    ):
        answer = await resolve(office, "alice", action_id, body=body)
        assert answer.status_code == 422, (body, answer.text)
    assert await office.house.held() == 1_000


async def test_a_person_has_an_action_taken_back_and_another_signs(
    office: Office,
) -> None:
    house = office.house
    interaction = await house.interaction()
    await house.read_order(interaction)
    done = await flow.submit(house.ports, house.refund(interaction, 1_000))
    assert done.record is not None
    first = done.record.request.action_id
    path, why = f"{PATH}/{first}/undo", {"reason": "by mistake"}
    for body, status in (({}, 422), ({"reason": ""}, 422), (why | {"more": 1}, 422)):
        answer = await office.call("alice", "POST", path, json=body)
        assert answer.status_code == status, answer.text
    assert (await office.call("olivia", "POST", path, json=why)).status_code == 404
    answer = await office.call("alice", "POST", path, json=why)
    assert answer.status_code == 202, answer.text
    assert answer.json()["status"] == "pending_approval"
    again = await office.call("bob", "POST", path, json=why)
    assert again.json()["action_id"] == answer.json()["action_id"]
    wrong = await office.call("alice", "POST", f"{PATH}/nothing/undo", json=why)
    assert wrong.status_code == 404
    [waits] = (await office.call("alice", "GET", "/v1/approvals")).json()["approvals"]
    assert not waits["may_approve"]
    [waits] = (await office.call("bob", "GET", "/v1/approvals")).json()["approvals"]
    assert waits["may_approve"]


async def test_who_has_no_such_role_sees_or_learns_nothing(office: Office) -> None:
    action_id = await unclear_refund(office.house, 1_000)
    assert (await office.call("olivia", "GET", f"{PATH}/unknown")).json() == {
        "unknown": []
    }
    for who, status in (("olivia", 404), ("carol", 409)):
        answer = await resolve(office, who, action_id, body={})
        assert answer.status_code == status, answer.text
    for wrong in ("nothing", "0197a000-0000-7000-8000-0000000000ff"):
        path = f"{PATH}/{wrong}/resolve"
        sent = {
            "happened": True,
            "reason": "x",
            "signature": resolution(office.house, "alice", action_id, reason="x"),
        }
        answer = await office.call("alice", "POST", path, json=sent)
        assert answer.status_code == 404, answer.text
    answer = await office.call("worker", "GET", f"{PATH}/unknown")
    assert answer.status_code in {401, 403}
    assert await office.house.held() == 1_000


async def test_a_round_asks_edge_and_upstream_and_says_what_it_found(
    office: Office,
) -> None:
    executor = office.house.executor
    executor.reaches = True
    found, left = [await unclear_refund(office.house, n) for n in (1_000, 500)]
    executor.moved = [one for one in executor.moved if one[2] == found]
    executor.fault = "no_answer"
    path = f"{PATH}/unknown/reconcile"
    assert (await office.call("olivia", "POST", path)).json()["reconciled"] == []
    answer = await office.call("alice", "POST", path)
    assert answer.status_code == 200, answer.text
    rows = {row["action"]: row for row in answer.json()["reconciled"]}
    assert rows[found] | {"said": ""} == {
        "action": found,
        "state": "done",
        "by": "upstream",
        "said": "",
        "alarms": [],
    }
    assert (rows[left]["state"], rows[left]["by"]) == ("unknown", "later")
    assert answer.json()["left"] == 0
    assert (await office.house.held(), await office.house.posted()) == (500, 1_000)
    answer = await office.call("worker", "POST", path)
    assert answer.status_code in {401, 403}
