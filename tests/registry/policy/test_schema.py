"""A policy is asked only what its rules look at, and looks at nothing unasked."""

from __future__ import annotations

import cedarpy
import pytest

from broker.core.authorize import decide
from broker.core.words.decision import Deny, Permit
from broker.registry.policy.schema import ATTRIBUTES, COUNTS, SUMS, schema_text
from broker.registry.policy.tree import looked_at
from tests.support.cases import all_tools, book, question

HEAD = '@id("a") permit(principal, action, resource)'
RECORDS = frozenset({SUMS, COUNTS})
BOTH = {"proof", "hour"}


@pytest.mark.parametrize(
    ("condition", "names", "fields"),
    [
        ("when { context.amount > 5 }", {"amount"}, set()),
        ('when { context["am\\u{6f}unt"] > 5 }', {"amount"}, set()),
        ("unless { context.tier > 1 || !context.proof }", {"tier", "proof"}, set()),
        ("when { context has hour && context.hour > 5 }", {"hour"}, set()),
        ('when { context.topics.contains("a") }', {"topics"}, set()),
        ('when { context.sum_within["agent\\u{5f}day"] > 5 }', {SUMS}, {"agent_day"}),
        ("when { context has sum_within.agent_day }", {SUMS}, None),
        ("when { if context.proof then true else context.hour > 1 }", BOTH, set()),
        ("when { context == {} }", None, None),
        ("when { context.sum_within == {} }", {SUMS}, None),
        ('when { principal.use_case == "context.amount" }', set(), set()),
        ("", set(), set()),
    ],
)  # fmt: skip
def test_what_rules_look_at_is_found_however_it_is_written(
    condition, names, fields
) -> None:
    parsed = cedarpy.policies_to_pst(f"{HEAD} {condition};").static_policies.values()
    found = looked_at(parsed, records=RECORDS)
    assert found == tuple(None if s is None else frozenset(s) for s in (names, fields))


def test_a_policy_decides_alike_whatever_else_it_could_have_looked_at() -> None:
    rule = f"{HEAD} when {{ context.amount < 5000 }};"
    more = (
        "(context.tier > 0 || context.locale == context.release) &&"
        " (context.proof || context.hour > context.weekday) &&"
        " context.sum_within.agent_day >= 0"
    )
    wide = f"{HEAD} when {{ context.amount < 5000 && {more} }};"
    for amount, kind in ((2_500, Permit), (5_000, Deny)):
        asked = question(amount_minor_units=amount)
        for text in (rule, wide):
            assert isinstance(decide(asked, book(text)), kind)
    assert book(rule).slices["orders.refund"].looks_at == {"amount"}
    assert book(rule).reads == frozenset()
    assert book(wide).reads == {"agent_day"}


def test_the_schema_has_every_attribute_and_each_effect_a_tool() -> None:
    whole = schema_text(all_tools(), sums=["s"], counts=["c"])
    assert cedarpy.Schema.from_str(whole)
    for name in ATTRIBUTES:
        assert f"{name}: " in whole
        assert f" {name}: " not in schema_text(all_tools(), only=ATTRIBUTES - {name})
    rule = '@id("a") forbid(principal, action in Action::"identity", resource);'
    reads = [tool for tool in all_tools() if tool.effect.value == "read"]
    for tools in (all_tools(), reads, []):
        schema = cedarpy.Schema.from_str(schema_text(tools))
        assert cedarpy.validate_policies(rule, schema).validation_passed
