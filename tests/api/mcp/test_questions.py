"""A person's question reaches the agent in words that it can use, and is answered."""

from __future__ import annotations

from typing import TYPE_CHECKING

from broker.approving import asking, voting
from broker.core.approvals.questions import ANSWER_CHARS_MAX
from tests.support.approvals.voters import LARGE, approve, voter
from tests.support.identities import ISSUER
from tests.support.mcp.agent import agent, refund

if TYPE_CHECKING:
    from tests.support.mcp.house import McpHouse


async def asked(api: McpHouse, text: str = "Which parcel?") -> tuple[str, str]:
    """Return an action that waits, and the approval that somebody asked about."""
    who = await agent(api)
    body = await who.body("orders_refund", **refund(LARGE))
    record = await api.house.ports.store.action(body["action_id"])
    assert record is not None
    await asking.ask(
        api.house.ports, voter(api.house, "alice"), record.approval_id, text
    )
    return body["action_id"], record.approval_id


async def test_a_question_is_told_answered_and_told_no_more(api: McpHouse) -> None:
    action_id, approval_id = await asked(api)
    who = await agent(api, read=False)
    told = await who.body("get_action", action_id=action_id, wait_s=0)
    [question] = told["questions"]
    assert question["question"] == "Which parcel?"
    assert "answer_question" in told["next"]
    assert "as a model's" in told["next"]
    after = await who.body(
        "answer_question",
        action_id=action_id,
        question_id=question["question_id"],
        answer="The second one.",
    )
    assert after["status"] == "pending_approval"
    assert "questions" not in after
    card = await voting.card(api.house.ports, voter(api.house, "bob"), approval_id)
    [shown] = card["asked"]["questions"]
    assert shown["answer"]["text"] == "The second one."
    assert shown["answer"]["label"] == "model_authored"
    await approve(api.house, "bob", approval_id)


async def test_over_rest_it_is_the_same_and_an_answer_is_bounded(
    api: McpHouse,
) -> None:
    action_id, approval_id = await asked(api)
    path = f"/v1/actions/{action_id}/answers"
    [asking_] = await api.house.ports.queue.questions(approval_id)
    body = {"question_id": asking_.question_id, "answer": "x" * (ANSWER_CHARS_MAX + 1)}
    who = api.proved(f"{ISSUER}{path}")
    assert (await api.post(body, who, path=path)).status_code == 422
    for status, code in ((200, None), (409, "conflict")):
        body["answer"] = "x" * ANSWER_CHARS_MAX
        who = api.proved(f"{ISSUER}{path}")
        answer = await api.post(body, who, path=path)
        assert answer.status_code == status, answer.text
        assert answer.json().get("code") == code
    elsewhere = f"/v1/actions/{approval_id}/answers"
    who = api.proved(f"{ISSUER}{elsewhere}")
    assert (await api.post(body, who, path=elsewhere)).status_code == 404
