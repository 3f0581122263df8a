"""The card: what a person is shown, and the digest by which they say so."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from broker.core.approvals.card import (
    RECORD_FIELDS_MAX,
    WORDS_SHOWN_MAX,
    Customer,
    Said,
    asked,
    level_name,
    meanwhile,
    reason_needed,
    record_fields,
    shown,
)
from broker.core.approve import asked_of
from broker.core.guard import bind
from broker.core.words.approval import ApprovalState, Tally
from broker.core.words.budget import Line, Window
from broker.core.words.decision import Escalate, Quorum, Reason
from broker.core.words.subject import VerificationLevel
from tests.support.cases import NOW, REFUND, interaction, record, tool

TOOL = tool("orders.refund")
RULE = Reason("needs_approval", "a refund needs one supervisor", "refund-one", "C2")
FINDING = ("tainted_argument", "/payment_method_id", "comes from a note")
RECORD = record(
    asked=Escalate((RULE,), Quorum(1, "supervisor", 60)),
    approval_id="a1",
    reasons=(RULE,),
    findings=(FINDING,),
)


def said(text: str, *, speaker: str = "customer", second: int = 0) -> Said:
    return Said(speaker, text, NOW + timedelta(seconds=second), verified=True)


def card(**changes: Any) -> dict[str, Any]:
    stored = changes.pop("record", RECORD)
    question = asked_of(
        stored,
        tool=TOOL,
        bound=bind(TOOL, REFUND),
        owner="o",
        interaction=interaction(),
    )
    assert question is not None
    return asked(
        stored,
        question,
        tool=changes.pop("tool", TOOL),
        customer=changes.pop("customer", Customer(interaction(), "Noah Brown")),
        said=changes.pop("said", (said("please"),)),
    )


def test_it_names_verb_amount_customer_and_the_argument_that_is_wrong() -> None:
    made = card()
    assert made["verb"] == TOOL.title
    assert made["amount"] == {
        "minor_units": 2_500,
        "currency": "USD",
        "text": "25.00 USD",
    }
    assert made["customer"]["name"] == "Noah Brown"
    assert made["findings"] == [
        {
            "code": "tainted_argument",
            "argument": "/payment_method_id",
            "value": REFUND["payment_method_id"],
            "text": "comes from a note",
        }
    ]
    assert list(made).index("findings") < list(made).index("agent_reason")
    assert list(made)[-1] == "agent_reason"


def test_the_customers_words_stand_apart_from_the_agents() -> None:
    made = card(said=(said("agent here", speaker="agent"), said("help", second=1)))
    assert [word["text"] for word in made["customer_said"]] == ["help"]
    assert [word["text"] for word in made["agent_said"]] == ["agent here"]


def test_only_the_newest_words_are_shown() -> None:
    turns = [said(str(n), second=n) for n in range(WORDS_SHOWN_MAX + 1)]
    texts = [word["text"] for word in card(said=turns)["customer_said"]]
    assert texts == [str(n) for n in range(1, WORDS_SHOWN_MAX + 1)]
    assert len(card(said=turns[1:])["customer_said"]) == WORDS_SHOWN_MAX


@pytest.mark.parametrize(
    "change",
    [
        {"said": (said("please do not"),)},
        {"said": ()},
        {"customer": Customer(interaction(), "Mia Smith")},
        {
            "customer": Customer(
                interaction(verification=VerificationLevel.CLAIMED), "Noah Brown"
            )
        },
        {"customer": Customer(interaction(), "Noah Brown", {"paid": 1})},
        {"record": replace(RECORD, findings=())},
        {"record": replace(RECORD, reasons=())},
        {"record": replace(RECORD, customer_ref="another")},
        {"tool": replace(TOOL, title="Take it back")},
    ],
)
def test_whatever_else_is_shown_has_another_digest(change: dict[str, Any]) -> None:
    assert shown(card(**change)) != shown(card())


def test_the_same_card_has_the_same_digest_in_every_replica() -> None:
    turns = [said(str(n), second=n) for n in range(3)]
    assert shown(card(said=turns)) == shown(card(said=turns[::-1]))


def test_the_record_is_shown_by_its_plain_fields_and_no_more_than_fit() -> None:
    record = {"order": "W1", "paid": 5, "items": [1], "notes": {"a": 1}, "none": None}
    assert card(customer=Customer(interaction(), "N", record))["record"] == {
        "order": "W1",
        "paid": 5,
    }
    fits = {f"f{n}": n for n in range(RECORD_FIELDS_MAX)}
    assert record_fields(fits) == fits
    assert record_fields(fits | {"one": "more"}) == fits


def test_an_approval_must_say_why_once_a_guard_has_found_something() -> None:
    assert reason_needed(RECORD)
    assert not reason_needed(replace(RECORD, findings=()))


def test_budgets_show_overspend_and_frozen_ones() -> None:
    line = Line(
        rule_id="agent-day",
        budget_id="b" * 64,
        window=Window.DAY,
        window_start=NOW,
        unit="USD",
        limit=100,
        amount=30,
        posted=40,
        held=30,
    )
    lines = (line, replace(line, held=31), replace(line, frozen=True))
    votes, two = Tally(ApprovalState.PENDING, counted=("ann",)), Quorum(2, "s", 60)
    found = meanwhile(votes, lines, quorum=two)
    assert [budget["over"] for budget in found["budgets"]] == [False, True, True]
    assert (found["approved_by"], found["votes_missing"]) == (["ann"], 1)
    assert found["budgets"][0]["this"] == 30
    assert found["customer_confirmed"] is None
    asks = replace(two, customer=2)
    assert meanwhile(votes, lines, quorum=asks)["customer_confirmed"] is False
    yes = replace(votes, customer=True)
    assert meanwhile(yes, lines, quorum=asks)["customer_confirmed"] is True
    assert (level_name(two), level_name(asks)) == (None, "matched")
