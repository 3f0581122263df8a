"""Claims, questions, absences, lists and many noes at once, over HTTP."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from broker.api.approvals.sharing import MOMENT_CHARS_MAX, REJECTIONS_MAX
from broker.approving.listing import CURSOR_CHARS_MAX, FILTER_CHARS_MAX
from broker.core.approvals.questions import QUESTION_CHARS_MAX
from broker.core.words.action import ActionState
from broker.core.words.approval import VoteWord
from broker.core.words.moment import write_moment
from tests.support.approvals.voters import (
    large_refund,
    look_and_sign,
    state_of,
)
from tests.support.flow.house import PEOPLE

if TYPE_CHECKING:
    from tests.support.approvals.office import Office

BASE = "/v1/approvals"


async def test_a_claim_is_seen_by_others_refused_to_them_and_given_back(
    office: Office,
) -> None:
    record = await large_refund(office.house)
    path = f"{BASE}/{record.approval_id}/claim"
    mine = (await office.call("alice", "POST", path)).json()
    assert mine["claimed_by"] == PEOPLE["alice"]
    taken = await office.call("bob", "POST", path)
    assert (taken.status_code, taken.json()["code"]) == (409, "approval-claimed")
    assert "wait until" in taken.json()["hint"]
    for who, yours in (("alice", True), ("bob", False)):
        [row] = (await office.call(who, "GET", BASE)).json()["approvals"]
        assert row["claim"] == {
            "by": PEOPLE["alice"],
            "until": mine["claimed_until"],
            "you": yours,
        }
    for released in (True, False):
        back = await office.call("alice", "DELETE", path)
        assert back.json()["released"] is released
    for who in ("carol", "worker"):
        assert (await office.call(who, "POST", path)).status_code in {401, 403, 404}


async def test_several_noes_are_sent_at_once_and_never_a_yes(office: Office) -> None:
    house = office.house
    records = [await large_refund(house, 20_000 + n) for n in range(3)]
    words = (VoteWord.REJECT, VoteWord.APPROVE, VoteWord.REJECT)
    votes = [
        {
            "approval": one.approval_id,
            "vote": await look_and_sign(house, "alice", one.approval_id, word),
        }
        for one, word in zip(records, words, strict=True)
    ]
    sent = await office.call(
        "alice", "POST", f"{BASE}/rejections", json={"votes": votes}
    )
    first, second, third = sent.json()["results"]
    assert (first["state"], third["state"]) == ("rejected", "rejected")
    assert second == {"approval": records[1].approval_id, "code": "invalid"}
    states = [await state_of(house, one) for one in records]
    assert states == [
        ActionState.REFUSED,
        ActionState.PENDING_APPROVAL,
        ActionState.REFUSED,
    ]
    # The same noes again change nothing, and say that these have ended.
    again = await office.call(
        "alice", "POST", f"{BASE}/rejections", json={"votes": votes[:1]}
    )
    assert again.json()["results"][0].get("code", "rejected") in {
        "conflict",
        "rejected",
    }
    many = {"votes": votes[:1] * REJECTIONS_MAX}
    assert (
        await office.call("alice", "POST", f"{BASE}/rejections", json=many)
    ).status_code == 200
    many = {"votes": votes[:1] * (REJECTIONS_MAX + 1)}
    refused = await office.call("alice", "POST", f"{BASE}/rejections", json=many)
    assert refused.status_code == 422


async def test_a_question_is_bounded_and_shown_on_the_card(office: Office) -> None:
    record = await large_refund(office.house)
    path = f"{BASE}/{record.approval_id}"
    for text, status in (
        ("", 422),
        ("x" * (QUESTION_CHARS_MAX + 1), 422),
        ("x" * QUESTION_CHARS_MAX, 201),
    ):
        asked = await office.call(
            "alice", "POST", f"{path}/questions", json={"question": text}
        )
        assert asked.status_code == status, asked.text
    card = (await office.call("bob", "GET", path)).json()
    [shown] = card["asked"]["questions"]
    assert (shown["number"], shown["answer"]) == (1, None)


async def test_somebody_goes_away_and_comes_back(office: Office) -> None:
    path, now = f"{BASE}/away", office.house.ports.clock.now()
    assert (await office.call("bob", "GET", path)).json() == {"away": None}
    until = write_moment(now + timedelta(days=2))
    body = {"deputy": PEOPLE["alice"], "until": until}
    gone = (await office.call("bob", "PUT", path, json=body)).json()
    assert gone == {"away": body, "handed_over": 0}
    for wrong in (
        {"until": "soon"},
        {"until": until[:-1]},
        {"until": "x" * (MOMENT_CHARS_MAX + 1)},
        {"deputy": "alice"},
    ):
        refused = await office.call("bob", "PUT", path, json=body | wrong)
        assert refused.status_code == 422, refused.text
    assert (await office.call("bob", "DELETE", path)).json() == {"away": None}


async def test_a_list_is_paged_sorted_and_filtered(office: Office) -> None:
    for amount in (21_000, 23_000, 22_000):
        await large_refund(office.house, amount)

    async def listed(**query: Any) -> dict[str, Any]:
        answer = await office.call("alice", "GET", BASE, params=query)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    first = await listed(limit=2, order="amount")
    rest = await listed(limit=2, order="amount", cursor=first["next_cursor"])
    amounts = [
        row["amount"]["minor_units"]
        for page in (first, rest)
        for row in page["approvals"]
    ]
    assert amounts == [23_000, 22_000, 21_000]
    assert rest["next_cursor"] is None
    row = rest["approvals"][0]
    for name in ("tool", "agent", "customer_ref"):
        same = await listed(**{name: row[name]})
        assert row in [
            one | {"expires_in_s": row["expires_in_s"]} for one in same["approvals"]
        ]
        longest = "x" * FILTER_CHARS_MAX
        assert (await listed(**{name: longest}))["approvals"] == []
        refused = await office.call("alice", "GET", BASE, params={name: f"{longest}x"})
        assert refused.status_code == 422
    for query in (
        {"limit": 0},
        {"order": "name"},
        {"cursor": "x" * CURSOR_CHARS_MAX},
        {"cursor": "x" * (CURSOR_CHARS_MAX + 1)},
    ):
        refused = await office.call("alice", "GET", BASE, params=query)
        assert refused.status_code == 422, refused.text
