"""A person asks, the agent answers, the card changes and nothing else does."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from broker.approving import asking, ending, voting
from broker.core.approvals.questions import QUESTIONS_MAX
from broker.core.words.approval import ApprovalState, VoteWord
from broker.core.words.errors import (
    ApprovalStaleError,
    ConflictError,
    ForbiddenError,
    NotFoundError,
)
from tests.approvals.test_escalation import notices
from tests.support.approvals.voters import (
    approve,
    change_person,
    large_refund,
    look_and_sign,
    voter,
)
from tests.support.flow.house import PEOPLE

if TYPE_CHECKING:
    from tests.support.flow.house import House


async def test_an_answer_is_on_the_card_as_the_models_and_the_digest_stays(
    house: House,
) -> None:
    record = await large_refund(house)
    who = voter(house, "alice")
    before = await voting.card(house.ports, who, record.approval_id)
    older = await look_and_sign(house, "alice", record.approval_id, VoteWord.APPROVE)
    await asking.ask(house.ports, who, record.approval_id, "Which parcel is it?")
    [told] = await asking.unanswered(house.ports, record)
    assert told["question"] == "Which parcel is it?"
    await asking.answer(
        house.ports, record, question_id=told["question_id"], text="The blue one."
    )
    assert await asking.unanswered(house.ports, record) == []
    after = await voting.card(house.ports, who, record.approval_id)
    [shown] = after["asked"]["questions"]
    assert shown["question"] == "Which parcel is it?"
    assert shown["answer"]["text"] == "The blue one."
    assert shown["answer"]["label"] == "model_authored"
    fields = [*after["asked"]]
    assert fields.index("customer_said") < fields.index("questions")
    assert after["asked"]["digest"] == before["asked"]["digest"]
    assert after["asked"]["expires_at"] == before["asked"]["expires_at"]
    assert after["shown"] != before["shown"]
    # A yes that was signed for the card without it is asked for again.
    with pytest.raises(ApprovalStaleError, match="card changed"):
        await voting.cast(house.ports, who, record.approval_id, older)
    counted = await approve(house, "alice", record.approval_id)
    assert counted.state is ApprovalState.APPROVED
    assert ("answer", "", PEOPLE["alice"]) in await notices(house, record.approval_id)
    kinds = [e["kind"] for e in await house.entries(record.request.action_id)]
    assert kinds[1:3] == ["approve.question", "approve.answer"]


async def test_a_question_is_answered_once_and_only_while_somebody_waits(
    house: House,
) -> None:
    record, other = await large_refund(house), await large_refund(house, 21_000)
    who = voter(house, "alice")
    question_id = await asking.ask(house.ports, who, record.approval_id, "why?")
    with pytest.raises(NotFoundError):
        await asking.answer(house.ports, other, question_id=question_id, text="x")
    await asking.answer(house.ports, record, question_id=question_id, text="x")
    with pytest.raises(ConflictError, match="was answered"):
        await asking.answer(house.ports, record, question_id=question_id, text="y")
    late = await asking.ask(house.ports, who, record.approval_id, "and?")
    await ending.withdraw(house.ports, record)
    with pytest.raises(ConflictError, match="nobody waits"):
        await asking.answer(house.ports, record, question_id=late, text="x")


async def test_so_many_questions_are_asked_and_no_more(house: House) -> None:
    record = await large_refund(house)
    who = voter(house, "bob")
    for number in range(QUESTIONS_MAX):
        await asking.ask(house.ports, who, record.approval_id, f"question {number}")
    with pytest.raises(ConflictError, match=f"{QUESTIONS_MAX} questions"):
        await asking.ask(house.ports, who, record.approval_id, "one more")
    assert len(await house.ports.queue.questions(record.approval_id)) == QUESTIONS_MAX


async def test_who_may_not_decide_asks_nothing_and_a_limit_is_no_hindrance(
    house: House,
) -> None:
    record = await large_refund(house, 210_000)
    with pytest.raises(NotFoundError):
        await asking.ask(house.ports, voter(house, "carol"), record.approval_id, "why?")
    await change_person(house, "olivia", roles=["owner", "supervisor"])
    with pytest.raises(ForbiddenError, match="owner"):
        await asking.ask(
            house.ports, voter(house, "olivia"), record.approval_id, "why?"
        )
    await asking.ask(house.ports, voter(house, "alice"), record.approval_id, "why?")
