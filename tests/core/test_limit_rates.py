"""Stage 3, rates: which counters an action has, and what is answered."""

from dataclasses import replace

import pytest

from broker.core.gcra import gcra_all
from broker.core.limit import (
    PROCESS_SHARE,
    RATE_KEYS_MAX,
    rate_answer,
    rate_keys,
    smaller,
)
from broker.core.words.budget import CountedBy, LimitFacts, RateRule, Scope
from broker.core.words.errors import InvalidError

FACTS = LimitFacts(
    tenant="demo",
    environment="dev",
    use_case="retail-care",
    agent_id="agent-1",
    tool="orders.get",
    customer_ref="ref-of-a-customer",
)
CALLS = RateRule("calls", frozenset({Scope.AGENT}), requests=60, period_s=60, burst=8)
LOOKUPS = RateRule(
    "lookups",
    frozenset({Scope.AGENT, Scope.TOOL, Scope.CUSTOMER}),
    requests=1,
    period_s=10,
    burst=2,
)


def test_every_rate_key_carries_the_tenant_as_its_only_hash_tag() -> None:
    keys = rate_keys((CALLS, LOOKUPS), FACTS)
    assert len(keys) == 2
    for rate in keys:
        assert rate.key.startswith("{demo}:dev:rate:")
        assert rate.key.count("{") == rate.key.count("}") == 1
        assert "ref-of" not in rate.key
        assert "agent-1" not in rate.key
    assert [rate.key for rate in keys] == sorted(rate.key for rate in keys)


def test_an_unbound_customer_has_no_counter_per_customer() -> None:
    keys = rate_keys((CALLS, LOOKUPS), replace(FACTS, customer_ref=""))
    assert [rate.rule_id for rate in keys] == ["calls"]


@pytest.mark.parametrize(
    "change", [{"agent_id": "b"}, {"tool": "b"}, {"customer_ref": "b"}, {"tenant": "b"}]
)
def test_agent_tool_customer_and_tenant_are_counted_apart(change) -> None:
    (mine,) = rate_keys((LOOKUPS,), FACTS)
    (theirs,) = rate_keys((LOOKUPS,), replace(FACTS, **change))
    assert mine.key != theirs.key


def test_a_rate_for_other_tools_counts_nothing() -> None:
    assert rate_keys((replace(CALLS, tools=frozenset({"x.y"})),), FACTS) == ()


def test_an_action_has_at_most_so_many_rate_keys() -> None:
    rules = tuple(replace(CALLS, rule_id=f"r{n}") for n in range(RATE_KEYS_MAX + 1))
    assert len(rate_keys(rules[:RATE_KEYS_MAX], FACTS)) == RATE_KEYS_MAX
    with pytest.raises(InvalidError, match="more than"):
        rate_keys(rules, FACTS)


def test_the_answer_speaks_of_the_tightest_counter() -> None:
    keys = rate_keys((CALLS, LOOKUPS), FACTS)
    paces = [(rate.interval_us, rate.burst) for rate in keys]
    fresh = gcra_all([None, None], now_us=10**15, paces=paces)
    answer = rate_answer(keys, fresh, counted_by=CountedBy.VALKEY)
    assert (answer.allowed, answer.rule_id) == (True, "lookups")
    assert (answer.limit, answer.remaining) == (2, 1)
    place = [rate.rule_id for rate in keys].index("calls")
    tats: list[int | None] = [None, None]
    tats[place] = 10**15 + keys[place].interval_us * keys[place].burst
    full = gcra_all(tats, now_us=10**15, paces=paces)
    refused = rate_answer(keys, full, counted_by=CountedBy.SQL)
    assert (refused.allowed, refused.rule_id) == (False, "calls")
    assert refused.retry_after_us == 1_000_000
    assert refused.counted_by is CountedBy.SQL


def test_an_action_without_rates_is_allowed_and_says_that_nothing_counted() -> None:
    answer = rate_answer((), (), counted_by=CountedBy.VALKEY)
    assert answer.allowed
    assert answer.counted_by is CountedBy.NONE


def test_a_replica_that_counts_alone_allows_less() -> None:
    keys = rate_keys((CALLS, LOOKUPS), FACTS)
    for before, after in zip(keys, smaller(keys), strict=True):
        assert after.interval_us == before.interval_us * PROCESS_SHARE
        assert 1 <= after.burst <= max(1, before.burst // PROCESS_SHARE)
