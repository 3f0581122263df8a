"""The appetite decides on real rows: topics and flags force a person, totals count."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from broker import flow
from broker.core.words.action import ActionState
from broker.core.words.decision import Escalate, Permit
from broker.registry.appetite.folder import read_sources
from tests.support.approvals.voters import approve, change_row
from tests.support.cases import demo_sources

if TYPE_CHECKING:
    from tests.support.flow.house import House

SMALL = 2_500
"""Minor units that the demo's standing approval covers."""


FORCED: list[tuple[dict[str, Any], set[str]]] = [
    ({"topics": ["returns", "complaint"]}, {"C1", "T1"}),
    ({"topics": ["pricing"]}, {"C1", "T1"}),
    ({"topics": ["identity"]}, {"C1", "T1"}),
    ({"customer_flags": ["vulnerable"]}, {"C1", "T3"}),
]


@pytest.mark.control("1.3", "2.5", "M10")
async def test_a_topic_or_flag_forces_a_person_whatever_was_signed_in_advance(
    house: House,
) -> None:
    plain = await house.interaction(topics=["returns"])
    await house.read_order(plain)
    answer = await flow.submit(house.ports, house.refund(plain, SMALL))
    assert isinstance(answer.decision, Permit)
    assert house.executor.amounts() == [SMALL]
    for claims, clauses in FORCED:
        talk = await house.interaction(**claims)
        await house.read_order(talk)
        answer = await flow.submit(house.ports, house.refund(talk, SMALL))
        assert answer.record is not None
        assert isinstance(answer.decision, Escalate), claims
        assert {reason.clause for reason in answer.decision.reasons} == clauses
        assert answer.record.state is ActionState.PENDING_APPROVAL
    assert house.executor.amounts() == [SMALL]
    assert answer.record is not None
    action_id = answer.record.request.action_id
    await approve(house, "alice", answer.record.approval_id)
    done = await flow.settle(house.ports, action_id)
    assert done is not None
    assert done.state is ActionState.DONE
    # The log names rules and clauses, and says nothing about the customer's flags.
    said = str(await house.entries(action_id))
    assert "company.T3.unsigned" in said
    assert "vulnerable" not in said


@pytest.mark.control("6.4")
async def test_what_one_customer_got_counts_for_the_next_request_held_money_too(
    house: House,
) -> None:
    sources = demo_sources()
    sources["limits.toml"] += """
[[totals]]
id = "customer-month"
per = ["customer"]
unit = "USD"
window = "month"
"""
    sources["appetite.toml"] += """
[[rows]]
clause = "T9"
text = "more than 40.00 within a month needs a person"
effects = ["money"]
total = "customer-month"
total_above = "40.00"
then = "person"
role = "supervisor"
"""
    row = await house.registry.get("policy", "main")
    assert row is not None
    await change_row(house, row, version=2, **read_sources(sources).body())
    talk = await house.interaction()
    await house.read_order(talk)
    words = []
    for number, amount in enumerate((2_000, 2_000, 1, 500)):
        ask = house.refund(talk, amount, key=f"k{number}")
        answer = await flow.submit(house.ports, ask)
        assert answer.decision is not None
        words.append(type(answer.decision))
    assert words == [Permit, Permit, Escalate, Escalate]
    assert house.executor.amounts() == [2_000, 2_000]
