"""What would be decided: people see rules and numbers, agents codes alone."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio

from tests.support.approvals.office import Office, open_office
from tests.support.approvals.voters import LARGE, large_refund
from tests.support.flow.executor import CARD, ORDER
from tests.support.flow.house import AGENT_ID, House, open_house

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from httpx import Response

    from broker.core.words.subject import Interaction

PATH = "/v1/decisions"


@pytest_asyncio.fixture
async def house(pg_broker_dsn: str, pg_dsn: str) -> AsyncIterator[House]:
    async with open_house(pg_broker_dsn, owner_dsn=pg_dsn) as opened:
        yield opened


@pytest_asyncio.fixture
async def office(house: House) -> AsyncIterator[Office]:
    async with open_office(house) as opened:
        yield opened


@pytest_asyncio.fixture
async def talk(house: House) -> Interaction:
    """Return a conversation in which the order was shown and its price is known."""
    opened = await house.interaction()
    await house.read_order(opened)
    return opened


def refund(talk: Interaction, amount: int, **more: Any) -> dict[str, Any]:
    arguments = {
        "order_id": ORDER,
        "amount_minor_units": amount,
        "currency": "USD",
        "payment_method_id": CARD,
    }
    asked = {"tool": "orders.refund", "arguments": arguments}
    return asked | {"interaction": talk.interaction_id} | more


async def ask(office: Office, who: str, body: dict[str, Any]) -> Response:
    if who != "agent" and "action" not in body:
        body = body | {"agent": AGENT_ID}
    return await office.call(who, "POST", PATH, json=body)


@pytest.mark.control("1.3", "8.3")
async def test_a_person_sees_which_clause_decided_and_what_would_make_it_pass(
    office: Office, talk: Interaction
) -> None:
    answer = await ask(office, "carol", refund(talk, 600_000))
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert (body["decision"], body["policy_version"]) == ("deny", 1)
    [reason] = body["reasons"]
    assert (reason["rule"], reason["clause"]) == ("company.C3", "C3")
    assert "5,000.00" in reason["text"]
    assert body["asked"]["amount_minor_units"] == 600_000
    budgets = {one["rule"]: one for one in body["budgets"]}
    assert budgets["customer-day"]["remaining"] == 300_000
    assert budgets["order-paid"]["limit"] == budgets["order-paid"]["remaining"]
    [way] = body["would_pass"]
    [change] = way["changes"]
    assert change["change"] == "amount_at_most"
    # Neither policy nor any budget has room for more: the order's price decides.
    assert change["value"] == budgets["order-paid"]["remaining"]
    smaller = await ask(office, "carol", refund(talk, change["value"]))
    assert smaller.json()["decision"] == way["decision"] == "escalate"
    more = await ask(office, "carol", refund(talk, change["value"] + 1))
    assert more.json()["decision"] == "deny"


async def test_a_person_sees_who_must_sign_and_what_would_stand_in_for_them(
    office: Office, talk: Interaction
) -> None:
    body = (await ask(office, "carol", refund(talk, LARGE))).json()
    assert body["decision"] == "escalate"
    assert body["quorum"] == {
        "approvers_min": 1,
        "role": "supervisor",
        "expires_s": 86_400,
        "remind_s": 0,
        "ladder": [],
        "customer": None,
    }
    changes = [[c["change"] for c in way["changes"]] for way in body["would_pass"]]
    assert changes == [["people_sign"], ["standing_approval"]]
    small = (await ask(office, "carol", refund(talk, 2_500))).json()
    assert (small["decision"], small["would_pass"]) == ("permit", [])
    assert small["asked"]["standing_approval"] is True


async def test_an_action_there_was_is_explained_as_it_would_be_decided_now(
    office: Office,
) -> None:
    record = await large_refund(office.house)
    asked = {"action": record.request.action_id}
    body = (await ask(office, "olivia", asked)).json()
    assert (body["tool"], body["decision"]) == ("orders.refund", "escalate")
    assert [r["clause"] for r in body["reasons"]] == ["C1"]
    # What the action itself holds is not counted against it.
    held = {one["rule"]: one["held"] for one in body["budgets"]}
    assert held["agent-day"] == 0


@pytest.mark.control("4.3")
async def test_an_agent_sees_codes_and_what_it_may_do_next_and_no_threshold(
    office: Office, talk: Interaction
) -> None:
    words = []
    for amount in (2_500, LARGE, 110_000, 600_000):
        answer = await ask(office, "agent", refund(talk, amount))
        assert answer.status_code == 200, answer.text
        body = answer.json()
        assert {*body} == {"decision", "reasons", "findings", "next"}
        assert all({*reason} == {"code"} for reason in body["reasons"])
        assert not any(sign.isdigit() for sign in json.dumps(body))
        words.append(body["decision"])
    assert words[0] == "permit"
    assert words[1] == "escalate"
    assert words[3] == "deny"


async def test_an_agent_that_asks_too_often_is_told_to_wait(
    office: Office, talk: Interaction
) -> None:
    office.house.rates.allowed = False
    answer = await ask(office, "agent", refund(talk, 2_500))
    assert answer.status_code == 429
    person = await ask(office, "carol", refund(talk, 2_500))
    assert person.status_code == 200


async def test_asking_leaves_nothing_behind(office: Office, talk: Interaction) -> None:
    count = "SELECT (SELECT count(*) FROM action) + (SELECT count(*) FROM reservation)"
    before = await office.house.database.value(count)
    for who in ("agent", "carol"):
        assert (await ask(office, who, refund(talk, 2_500))).status_code == 200
    assert await office.house.database.value(count) == before


@pytest.mark.control("1.4")
async def test_numbers_are_for_who_may_look_into_the_registry_or_owns_the_agent(
    office: Office, talk: Interaction
) -> None:
    for who, status in (("olivia", 200), ("carol", 200), ("alice", 403)):
        answer = await ask(office, who, refund(talk, 2_500))
        assert answer.status_code == status, who


async def test_a_question_that_is_wrong_is_refused_by_name(
    office: Office, talk: Interaction
) -> None:
    wrong: list[tuple[dict[str, Any], int, str | None]] = [
        ({"tool": "orders.burn"}, 422, "/tool"),
        ({"tool": None}, 422, "/action"),
        ({"interaction": AGENT_ID}, 422, "/interaction"),
        ({"arguments": {}}, 422, "/arguments"),
        ({"action": AGENT_ID}, 404, None),
        ({"action": "x"}, 422, "/action"),
        ({"colour": 1}, 422, "/colour"),
    ]
    for change, status, pointer in wrong:
        answer = await ask(office, "carol", refund(talk, 2_500) | change)
        assert answer.status_code == status, answer.text
        assert pointer is None or answer.json()["pointer"] == pointer
