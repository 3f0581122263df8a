"""Scopes: names that cannot be mistaken for one another."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.core.limits.scope import (
    Scope,
    check_rule,
    check_whole,
    hash_of,
    is_rule_id,
    scope_of,
)

AGENT = frozenset({Scope.AGENT})
parts = st.lists(st.text(max_size=8), max_size=4)


@given(parts, parts)
def test_two_scopes_have_one_hash_only_if_they_are_the_same(one, other) -> None:
    assert (hash_of(one) == hash_of(other)) is (one == other)


def test_a_scope_is_written_in_a_fixed_order_and_is_none_if_a_value_is_missing() -> (
    None
):
    values = {Scope.TENANT: "demo", Scope.AGENT: "a1"}
    per = frozenset({Scope.TENANT, Scope.AGENT})
    assert scope_of(per, values) == ["agent", "a1", "tenant", "demo"]
    assert scope_of(per, values | {Scope.AGENT: ""}) is None
    assert scope_of(per | {Scope.CONNECTOR}, values) is None


@pytest.mark.parametrize("name", ["", "Day", "1day", "a b", "a:b", "a" * 65, "a\n"])
def test_what_cannot_name_a_rule_is_refused(name) -> None:
    assert not is_rule_id(name)
    with pytest.raises(ValueError, match="cannot name a rule"):
        check_rule(name, AGENT)
    check_rule("a" * 64, AGENT)


def test_a_rule_counts_over_something() -> None:
    with pytest.raises(ValueError, match="at least one scope"):
        check_rule("day", frozenset())


@pytest.mark.parametrize("wrong", [0, 11, 1.0, True, None])
def test_a_number_is_whole_and_within_its_bounds(wrong) -> None:
    for fits in (1, 10):
        check_whole("n", fits, least=1, most=10)
    with pytest.raises(ValueError, match=r"whole number within 1\.\.10"):
        check_whole("n", wrong, least=1, most=10)
