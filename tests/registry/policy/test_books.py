"""Policies: one that is too long, too strict or too vague is never published."""

from __future__ import annotations

from typing import Any

import pytest

from broker.core.authorize import APPROVERS_MAX, EXPIRES_S_MAX, decide
from broker.core.words.approval import APPROVALS_PER_HOUR_MAX
from broker.core.words.decision import Escalate, Permit, Quorum, Rung
from broker.registry.policy.books import (
    LIMITS_MAX,
    RESERVED_NAMES,
    approvals_per_hour,
    limits_of,
    rule_book,
)
from broker.registry.policy.cedar_text import CEDAR_BYTES_MAX, RULES_MAX, PolicyError
from tests.support.cases import all_tools, book, question

RATE: dict[str, Any] = {
    "id": "r",
    "per": ["agent"],
    "requests": 10,
    "period_s": 60,
    "burst": 5,
}
BUDGET: dict[str, Any] = {
    "id": "b",
    "per": ["agent"],
    "unit": "USD",
    "window": "day",
    "limit": 100,
}
PERMIT = "permit(principal, action, resource);"


def approved(notes: str) -> str:
    """Return a rule that waits for signatures, with these annotations."""
    head, body = "permit(principal, action, resource)", "when { context.approved };"
    return f'@id("a") {notes} {head} {body}'


def asked(cedar: str) -> Escalate:
    decision = decide(question(standing=False), book(cedar))
    assert isinstance(decision, Escalate)
    return decision


def padded(size: int) -> str:
    rule = f'@id("a") {PERMIT}'
    return rule + " " * (size - len(rule))


def test_a_policy_is_as_long_as_the_limit_and_not_one_byte_longer() -> None:
    assert isinstance(decide(question(), book(padded(CEDAR_BYTES_MAX))), Permit)
    with pytest.raises(PolicyError, match=f"longer than {CEDAR_BYTES_MAX}"):
        book(padded(CEDAR_BYTES_MAX + 1))


def test_length_is_counted_in_bytes_and_not_in_characters() -> None:
    text = f'@id("a") @text("{"€" * (CEDAR_BYTES_MAX // 3)}") {PERMIT}'
    assert len(text) < CEDAR_BYTES_MAX
    with pytest.raises(PolicyError, match="longer"):
        book(text)


def test_a_policy_has_as_many_rules_as_the_limit_and_not_one_more() -> None:
    rules = [f'@id("r{number}") {PERMIT}' for number in range(RULES_MAX + 1)]
    assert len(book("\n".join(rules[:-1])).rules) == RULES_MAX
    with pytest.raises(PolicyError, match=f"more than {RULES_MAX} rules"):
        book("\n".join(rules))


@pytest.mark.parametrize("approvers", [1, APPROVERS_MAX])
@pytest.mark.parametrize("expires_s", [1, EXPIRES_S_MAX])
def test_a_rule_asks_for_approvers_within_the_limits(approvers, expires_s) -> None:
    notes = f'@approvers("{approvers}") @role("s") @expires_s("{expires_s}")'
    quorum = asked(approved(notes)).quorum
    assert (quorum.approvers_min, quorum.expires_s) == (approvers, expires_s)


@pytest.mark.parametrize(
    "notes",
    [
        f'@approvers("{APPROVERS_MAX + 1}") @role("s")',
        '@approvers("0") @role("s")',
        '@approvers("-1") @role("s")',
        '@approvers("many") @role("s")',
        '@approvers("1.5") @role("s")',
        '@approvers("") @role("s")',
        '@approvers("1")',
        '@approvers("1") @role("")',
        f'@approvers("1") @role("s") @expires_s("{EXPIRES_S_MAX + 1}")',
        '@approvers("1") @role("s") @expires_s("0")',
        '@approvers("1") @role("s") @expires_s("soon")',
        '@approvers("1") @role("s") @expires_s("60") @remind_s("60")',
        '@approvers("1") @role("s") @expires_s("60") @escalate("chief")',
        '@approvers("1") @role("s") @expires_s("60") @escalate("chief:60")',
        '@approvers("1") @role("s") @expires_s("60") @escalate("s:30")',
        '@approvers("1") @role("s") @customer_confirms("yes")',
        '@approvers("1") @role("s") @customer_confirms("none")',
    ],
)
def test_a_rule_that_says_wrongly_who_must_sign_is_refused_by_name(notes) -> None:
    with pytest.raises(PolicyError, match="rule a"):
        book(approved(notes))


@pytest.mark.parametrize("people", [0, APPROVERS_MAX + 1])
def test_the_quorum_of_a_hold_has_the_same_limits(people) -> None:
    assert book("", hold=APPROVERS_MAX).hold.approvers_min == APPROVERS_MAX
    with pytest.raises(PolicyError, match="hold"):
        book("", hold=people)


def test_the_strictest_quorum_is_asked_for_and_the_soonest_end() -> None:
    when = "permit(principal, action, resource) when { context.approved };"
    quorum = asked(
        f'@id("a") @approvers("1") @role("clerk") @expires_s("60") {when}'
        f'@id("b") @approvers("2") @role("chief") @expires_s("600") {when}'
    ).quorum
    assert (quorum.approvers_min, quorum.role, quorum.expires_s) == (2, "chief", 60)


def test_a_rule_looks_only_at_totals_that_the_policy_has() -> None:
    head = '@id("a") permit(principal, action, resource)'
    cedar = head + " when {{ context.sum_within.{} < 5 }};"
    assert book(cedar.format("agent_day")).reads == {"agent_day"}
    assert book(f'@id("a") {PERMIT}').reads == frozenset()
    with pytest.raises(PolicyError, match="rule"):
        book(cedar.format("other_day"))


def test_the_name_of_a_budget_cannot_change_the_schema() -> None:
    name = 'x": Long, "approved'
    body = {
        "version": 1,
        "cedar": f'@id("a") {PERMIT}',
        "hold": {"approvers": 1, "role": "s", "expires_s": 60},
        "budgets": [{"id": name, "unit": "USD"}],
    }
    decision = decide(question(totals={name: 0}), rule_book(body, all_tools()))
    assert isinstance(decision, Permit)


@pytest.mark.parametrize(("kind", "one"), [("rates", RATE), ("budgets", BUDGET)])
def test_a_policy_has_as_many_limits_as_the_limit_and_not_one_more(kind, one) -> None:
    many = [one | {"id": f"n{number}"} for number in range(LIMITS_MAX + 1)]
    found = limits_of({kind: many[:-1]})[kind == "budgets"]
    assert [rule.rule_id for rule in found] == [rule["id"] for rule in many[:-1]]
    with pytest.raises(PolicyError, match=f"{kind}: more than {LIMITS_MAX}"):
        limits_of({kind: many})


@pytest.mark.parametrize(("kind", "one"), [("rates", RATE), ("budgets", BUDGET)])
@pytest.mark.parametrize("name", sorted(RESERVED_NAMES))
def test_a_name_of_ours_is_refused(kind, one, name) -> None:
    with pytest.raises(PolicyError, match=f"{kind}: '{name}'"):
        limits_of({kind: [one | {"id": name}]})


@pytest.mark.parametrize(("kind", "one"), [("rates", RATE), ("budgets", BUDGET)])
def test_a_name_that_is_used_twice_is_refused(kind, one) -> None:
    with pytest.raises(PolicyError, match="used twice"):
        limits_of({kind: [one, one]})


def test_a_rate_and_a_budget_may_share_a_name() -> None:
    rates, budgets = limits_of({"rates": [RATE], "budgets": [BUDGET | {"id": "r"}]})
    assert rates[0].rule_id == budgets[0].rule_id == "r"


@pytest.mark.parametrize(
    ("kind", "one"),
    [
        ("rates", {name: RATE[name] for name in RATE if name != "burst"}),
        ("rates", RATE | {"per": ["planet"]}),
        ("rates", RATE | {"requests": 0}),
        ("rates", RATE | {"per": 1}),
        ("budgets", {name: BUDGET[name] for name in BUDGET if name != "unit"}),
        ("budgets", BUDGET | {"window": "eternity"}),
        ("budgets", BUDGET | {"per": ["planet"]}),
        ("budgets", BUDGET | {"limit": -1}),
    ],
)
def test_a_malformed_limit_is_refused(kind, one) -> None:
    with pytest.raises(PolicyError, match="rates or budgets"):
        limits_of({kind: [one]})


def test_a_rule_may_say_when_people_are_reminded_and_who_is_asked_next() -> None:
    notes = '@approvers("1") @role("s") @expires_s("60") @remind_s("10")'
    quorum = asked(approved(f'{notes} @escalate("chief:20 owner:30")')).quorum
    ladder = (Rung("chief", 20), Rung("owner", 30))
    assert quorum == Quorum(1, "s", 60, remind_s=10, ladder=ladder)


def test_a_rule_may_want_the_customer_to_confirm_as_well() -> None:
    notes = '@approvers("1") @role("s") @expires_s("60") @customer_confirms("matched")'
    assert asked(approved(notes)).quorum == Quorum(1, "s", 60, customer=2)


@pytest.mark.parametrize("most", [1, APPROVALS_PER_HOUR_MAX])
def test_a_policy_may_say_how_often_one_person_says_yes_in_an_hour(most) -> None:
    assert approvals_per_hour({"votes": {"approvals_per_hour": most}}) == most
    assert approvals_per_hour({}) == APPROVALS_PER_HOUR_MAX


@pytest.mark.parametrize("most", [0, APPROVALS_PER_HOUR_MAX + 1, "9", True, None])
def test_a_number_of_approvals_beyond_the_limit_is_refused(most) -> None:
    with pytest.raises(PolicyError, match="approvals_per_hour"):
        approvals_per_hour({"votes": {"approvals_per_hour": most}})
    with pytest.raises(PolicyError, match="not known"):
        approvals_per_hour({"votes": {"per_day": 9}})
