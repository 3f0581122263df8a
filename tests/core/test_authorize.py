"""The policy's three answers, and what no policy can grant."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.core.authorize import decide, hold
from broker.core.words.decision import Deny, Escalate, Permit, Reason
from broker.registry.policy.cedar_text import PolicyError
from tests.support.cases import book, demo_book, question

BOOK = demo_book()
EVERYTHING = book('@id("all") permit(principal, action, resource);')


def about(**changes):
    """Ask the demo's policy about a small refund with a standing approval."""
    return question(totals=dict.fromkeys(BOOK.totals, 0), **changes)


@pytest.mark.control("2.5")
def test_a_small_refund_is_permitted_only_under_a_standing_approval() -> None:
    assert isinstance(decide(about(), BOOK), Permit)
    assert isinstance(decide(about(standing=False), BOOK), Escalate)


def test_a_standing_approval_counts_only_with_proof_of_possession() -> None:
    assert isinstance(decide(about(proof=False), BOOK), Escalate)


@given(amount=st.integers(min_value=1, max_value=2**53 - 1))
def test_more_money_never_needs_fewer_people(amount: int) -> None:
    def people(units: int) -> int:
        decision = decide(about(standing=False, amount_minor_units=units), BOOK)
        return decision.quorum.approvers_min if isinstance(decision, Escalate) else 99

    assert people(amount) <= people(min(amount * 2, 2**53 - 1))


@pytest.mark.parametrize(
    ("amount", "approvers"), [(100_000, 1), (100_001, 2), (500_000, 2)]
)
def test_the_second_threshold_asks_for_two_people(amount: int, approvers: int) -> None:
    decision = decide(about(standing=False, amount_minor_units=amount), BOOK)
    assert isinstance(decision, Escalate)
    assert decision.quorum.approvers_min == approvers


def test_a_forbid_on_a_group_of_tools_binds_each_tool_in_it() -> None:
    decision = decide(about(amount_minor_units=500_001), BOOK)
    assert isinstance(decision, Deny)
    assert [(r.rule, r.clause) for r in decision.reasons] == [("company.C3", "C3")]


@pytest.mark.control("6.1")
@given(allowed=st.booleans())
def test_no_policy_permits_a_tool_that_is_not_granted(*, allowed: bool) -> None:
    asked = question()
    tools = asked.agent.tools if allowed else asked.agent.tools - {"orders.refund"}
    decision = decide(
        replace(asked, agent=replace(asked.agent, tools=tools)), EVERYTHING
    )
    assert isinstance(decision, Permit) is allowed


@pytest.mark.control("R7")
def test_no_policy_lifts_an_agent_above_its_tier() -> None:
    asked = question()
    low = replace(asked, agent=replace(asked.agent, tier_max=2))
    decision = decide(low, EVERYTHING)
    assert isinstance(decision, Deny)
    assert decision.reasons[0].code == "tier_above_ceiling"


def test_a_policy_without_rules_denies_everything() -> None:
    decision = decide(question(), book(""))
    assert isinstance(decision, Deny)
    assert decision.reasons[0].code == "no_rule"


def test_a_forbid_wins_over_every_permit() -> None:
    both = book(
        '@id("all") permit(principal, action, resource);'
        '@id("none") forbid(principal, action, resource);'
    )
    assert isinstance(decide(question(), both), Deny)


def test_a_rule_that_overflows_denies_instead_of_being_skipped() -> None:
    overflowing = book(
        '@id("all") permit(principal, action, resource);'
        '@id("sum") forbid(principal, action, resource)'
        " when { context.amount + 9223372036854775807 > 0 };"
    )
    decision = decide(question(), overflowing)
    assert isinstance(decision, Deny)
    assert decision.reasons[0].code == "policy_error"


def test_a_rule_for_approved_actions_that_names_nobody_denies() -> None:
    nameless = book(
        '@id("x") permit(principal, action, resource) when { context.approved };'
    )
    decision = decide(question(), nameless)
    assert isinstance(decision, Deny)
    assert decision.reasons[0].code == "policy_error"


def test_a_hold_turns_a_permit_into_a_question_and_leaves_a_deny_alone() -> None:
    why = (Reason("tainted_argument", "x"),)
    held = hold(Permit(), why, BOOK)
    assert isinstance(held, Escalate)
    assert held.quorum == BOOK.hold
    denied = Deny((Reason("no_rule", "x"),))
    assert hold(denied, why, BOOK) is denied


@pytest.mark.parametrize(
    ("cedar", "what"),
    [
        ("permit(principal, action, resource);", "@id"),
        ('@id("a") permit(principal, action, resource);' * 2, "shared"),
        ('@id("a") permit(principal, action, resource) when { context.x };', "rule"),
        ('@id("a") permit(principal, action, resource', "parse"),
        (
            '@id("a") permit(principal == ?principal, action, resource);',
            "template",
        ),
        (
            '@id("a") @approvers("0") @role("s") permit(principal, action, resource);',
            "approvers",
        ),
    ],
)
def test_a_policy_that_does_not_validate_is_refused(cedar: str, what: str) -> None:
    with pytest.raises(PolicyError, match=what):
        book(cedar)


OTHER = "0197a000-0000-7000-8000-00000000a002"
ANSWERS = {
    "permit": "permit",
    "one": "permit",
    "two": "permit",
    "other role": "permit",
    "deny": "forbid",
}
SIGNED = {
    "one": ("1", "supervisor", "3600"),
    "two": ("2", "supervisor", "7200"),
    "other role": ("1", "compliance", "3600"),
}


def rules_for(agent: str, answer: str) -> str:
    """Return a rule under which one agent gets this answer."""
    head = f'@id("{answer} {agent[-4:]}")'
    scope = f'{ANSWERS[answer]}(principal == Agent::"{agent}", action, resource)'
    if answer not in SIGNED:
        return f"{head} {scope};"
    people, role, expires_s = SIGNED[answer]
    notes = f'@approvers("{people}") @role("{role}") @expires_s("{expires_s}")'
    return f"{head} {notes} {scope} when {{ context.approved }};"


def chained(mine: str, above: str) -> tuple[object, ...]:
    """Ask as an agent that acts on another one's authority; both have a policy."""
    asked = question()
    parent = replace(asked.agent, agent_id=OTHER, owner="p")
    rules = book(rules_for(asked.agent.agent_id, mine) + rules_for(OTHER, above))
    alone = replace(asked, agent=parent)
    return (
        decide(replace(asked, chain=(parent,)), rules),
        decide(asked, rules),
        decide(alone, rules),
    )


@pytest.mark.parametrize("above", ANSWERS)
@pytest.mark.parametrize("mine", ANSWERS)
def test_of_two_policies_of_a_chain_the_strictest_answer_counts(mine, above) -> None:
    together, child, parent = chained(mine, above)
    if "deny" in {mine, above}:
        assert isinstance(together, Deny)
        return
    asks = [one for one in (child, parent) if isinstance(one, Escalate)]
    if not asks:
        assert isinstance(together, Permit)
    elif len({one.quorum.role for one in asks}) > 1:
        assert isinstance(together, Deny)
        assert together.reasons[0].code == "chain_roles_differ"
        assert "compliance and of supervisor" in together.reasons[0].text
    else:
        assert isinstance(together, Escalate)
        quorums = [one.quorum for one in asks]
        most = max(one.approvers_min for one in quorums)
        assert together.quorum.approvers_min == most
        assert together.quorum.expires_s == min(one.expires_s for one in quorums)
        assert {*together.reasons} == {r for one in asks for r in one.reasons}
