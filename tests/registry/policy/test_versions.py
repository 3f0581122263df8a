"""What provably narrows: a property over questions, and what never counts as one."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.cli.seed_policy import demo_policy
from broker.core.authorize import decide
from broker.core.words.decision import Decision, Deny, Escalate
from broker.core.words.errors import InvalidError
from broker.registry.policy.books import rule_book
from broker.registry.policy.versions import (
    CONTENT_BYTES_MAX,
    changes,
    content_digest,
    content_of,
    narrows,
)
from tests.support.cases import all_tools, question

CONTENT = content_of(demo_policy(author="a", approver="b"))
TOOLS = all_tools()
FORBID = '@id("no-night") forbid(principal, action, resource) when {{ {condition} }};'
CONDITIONS = [
    "context.amount > 2000",
    'context.channel == "webchat"',
    "context.hour < 6",
    'context.topics.contains("complaint")',
    "context.standing",
    "!context.approved",
]


def with_rule(rule: str) -> dict[str, Any]:
    return CONTENT | {"cedar": f"{CONTENT['cedar']}\n{rule}"}


def severity(decision: Decision) -> tuple[int, int]:
    if isinstance(decision, Deny):
        return 2, 0
    if isinstance(decision, Escalate):
        return 1, decision.quorum.approvers_min
    return 0, 0


OLD_BOOK = rule_book({"version": 1, **CONTENT}, TOOLS)
BOOKS = {
    condition: rule_book(
        {"version": 2, **with_rule(FORBID.format(condition=condition))}, TOOLS
    )
    for condition in CONDITIONS
}


@settings(max_examples=30)
@given(
    condition=st.sampled_from(CONDITIONS),
    amount=st.sampled_from([0, 100, 2_500, 99_999, 100_001, 600_000]),
    hour=st.integers(0, 23),
    standing=st.booleans(),
    topics=st.sampled_from([(), ("complaint",)]),
)
def test_one_more_ban_never_permits_what_was_not_permitted(
    condition: str, amount: int, **changed: Any
) -> None:
    new = with_rule(FORBID.format(condition=condition))
    assert narrows(CONTENT, new)
    totals = {one["id"]: 0 for one in CONTENT["budgets"]}
    asked = question(amount_minor_units=amount, totals=totals, **changed)
    before, after = decide(asked, OLD_BOOK), decide(asked, BOOKS[condition])
    assert severity(after) >= severity(before)


def limit(kind: str, name: str, **fields: Any) -> dict[str, Any]:
    changed = [one | fields if one["id"] == name else one for one in CONTENT[kind]]
    return CONTENT | {kind: changed}


@pytest.mark.parametrize(
    "new",
    [
        limit("budgets", "agent-day", limit=999_999),
        limit("rates", "agent", requests=1, burst=1),
        CONTENT | {"rates": [*CONTENT["rates"], CONTENT["rates"][0] | {"id": "more"}]},
        CONTENT,
    ],
)
def test_smaller_limits_and_more_rates_narrow(new: dict[str, Any]) -> None:
    assert narrows(CONTENT, new)


@pytest.mark.parametrize(
    "new",
    [
        limit("budgets", "agent-day", limit=1_000_001),
        limit("budgets", "agent-day", per=["tenant"]),
        limit("budgets", "agent-day", limit=None),
        limit("rates", "agent", burst=301),
        limit("rates", "agent", period_s=59),
        CONTENT | {"budgets": CONTENT["budgets"][1:]},
        CONTENT | {"rates": CONTENT["rates"][1:]},
        # It could cover an amount that nothing covered before.
        CONTENT
        | {"budgets": [*CONTENT["budgets"], CONTENT["budgets"][0] | {"id": "more"}]},
        CONTENT | {"hold": CONTENT["hold"] | {"approvers": 2}},
        CONTENT | {"anything": 1},
        # The rule that asks for two signatures: without it, one is enough.
        CONTENT | {"cedar": CONTENT["cedar"].replace("> 100000", "> 900000")},
        with_rule('@id("all") permit(principal, action, resource);'),
        # A ban until somebody signs, who need not be the one who must sign now.
        with_rule(
            '@id("x") @approvers("9") @role("owner") forbid(principal, action,'
            " resource) unless { context.approved };"
        ),
        limit("budgets", "agent-day", per_action=5),
        CONTENT | {"cedar": CONTENT["cedar"].replace("> 500000", "> 400000")},
    ],
)
def test_what_cannot_be_proved_to_narrow_takes_two(new: dict[str, Any]) -> None:
    assert not narrows(CONTENT, new)


def test_changes_are_named_by_rule_and_limit() -> None:
    new = with_rule(FORBID.format(condition="context.hour < 6"))
    new |= {"cedar": new["cedar"].replace("amount > 500000", "amount > 400000")}
    new |= {"budgets": limit("budgets", "agent-day", limit=1)["budgets"]}
    assert changes(CONTENT, new) == {
        "rules": {
            "added": ["no-night"],
            "removed": [],
            "changed": ["company.C3"],
        },
        "rates": {"added": [], "removed": [], "changed": []},
        "budgets": {"added": [], "removed": [], "changed": ["agent-day"]},
        "other": [],
    }


def test_a_content_at_its_limit_is_taken_and_one_byte_more_is_not() -> None:
    room = CONTENT_BYTES_MAX - len('{"cedar":""}')
    assert content_digest({"cedar": "x" * room})
    with pytest.raises(InvalidError, match="longer than"):
        content_digest({"cedar": "x" * (room + 1)})


def test_a_content_does_not_say_who_stands_behind_it() -> None:
    with pytest.raises(InvalidError, match="approver"):
        content_digest(CONTENT | {"approver": "me"})
