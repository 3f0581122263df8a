"""A table decides what it says, and a use case's table only ever takes away."""

from __future__ import annotations

from dataclasses import replace

import cedarpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.core.authorize import decide
from broker.core.words.decision import Quorum
from broker.core.words.effect import Effect
from broker.registry.appetite.cedar import compile_tables
from broker.registry.appetite.words import COMPANY, Ceiling, Row, Table, Then
from broker.registry.policy.cedar_text import lines_of_rules
from tests.support.appetites import (
    USE_CASE,
    as_strict,
    book_of,
    pool,
    said,
    says,
    tables,
)
from tests.support.cases import book, question

ASKED = st.lists(st.sampled_from(pool(400)), min_size=15, max_size=15)


@pytest.mark.control("1.3", "8.3")
@settings(max_examples=20, deadline=None)
@given(table=tables(), asked=ASKED)
def test_the_cedar_of_a_table_decides_what_the_table_says(table, asked) -> None:
    rules = book_of(table)
    for one in asked:
        assert said(decide(one, rules)) == says(table, one)


@pytest.mark.control("1.3")
@settings(max_examples=20, deadline=None)
@given(company=tables(), narrower=tables(scope=USE_CASE), asked=ASKED)
def test_a_table_of_a_use_case_makes_no_answer_less_strict_and_no_others_any_different(
    company, narrower, asked
) -> None:
    alone, both = book_of(company), book_of(company, narrower)
    for one in asked:
        before = decide(one, alone)
        assert as_strict(decide(one, both), before)
        other = replace(one, agent=replace(one.agent, use_case="another"))
        assert decide(other, both) == before


@settings(max_examples=15, deadline=None)
@given(company=tables(), narrower=tables(scope=USE_CASE))
def test_every_rule_has_its_own_id_and_says_whose_clause_it_is(
    company, narrower
) -> None:
    text = compile_tables([company, narrower])
    parsed = cedarpy.policies_to_pst(text).static_policies.values()
    ids = [rule.annotations["id"] for rule in parsed]
    assert len({*ids}) == len(ids) == len(lines_of_rules(text))
    assert {rule.effect for rule in parsed if not _company(rule)} <= {"forbid"}
    assert all("text" in rule.annotations for rule in parsed)


def _company(rule) -> bool:
    return rule.annotations["id"].startswith(f"{COMPANY}.")


def test_a_row_counts_what_moved_before_and_this_action_with_it() -> None:
    ceiling = Ceiling("agent_day", 10_000, counts=False)
    row = Row("T1", "x", Then.BAN, 1, frozenset({Effect.MONEY}), ceiling=ceiling)
    text = compile_tables([Table(COMPANY, "a", "dave", (row,))])
    rules = book('@id("all") permit(principal, action, resource);' + text)

    def word(moved: int) -> str:
        asked = question(amount_minor_units=2_500, totals={"agent_day": moved})
        return said(decide(asked, rules))[0]

    assert (word(7_500), word(7_501)) == ("permit", "deny")
    assert rules.reads == {"agent_day"}


def test_a_row_that_asks_the_customer_says_so_in_cedar() -> None:
    quorum = Quorum(1, "supervisor", 60, customer=3)
    row = Row("C1", "x", Then.APPROVE, 1, frozenset({Effect.MONEY}), quorum=quorum)
    text = compile_tables([Table(COMPANY, "a", "dave", (row,))])
    rules = book(text).rules.values()
    assert {rule.quorum for rule in rules if rule.quorum} == {quorum}


def test_what_a_table_says_cannot_leave_its_strings() -> None:
    row = Row(
        'C1") permit(principal, action, resource); //',
        'a "quoted" \\ text',
        Then.BAN,
        1,
        frozenset({Effect.MONEY}),
        channels=frozenset({'chat"].contains("x") || ["'}),
    )
    text = compile_tables([Table(COMPANY, "a", "dave", (row,))])
    (rule,) = cedarpy.policies_to_pst(text).static_policies.values()
    assert rule.effect == "forbid"
    assert rule.annotations["text"] == row.text
    assert said(decide(question(), book(text)))[0] == "deny"
