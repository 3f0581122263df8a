"""Lines and rate keys: what one action takes, and which counters it has."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from broker.core.gcra import gcra_all
from broker.core.limits.scope import Scope
from broker.core.limits.window import Window
from broker.core.lines import (
    PROCESS_SHARE,
    RATE_KEYS_MAX,
    lines_for,
    rate_answer,
    rate_keys,
    record_lines,
    smaller,
)
from broker.core.words.budget import (
    CUSTOMERS_UNIT,
    RECORDS_UNIT,
    BudgetRule,
    CountedBy,
    LimitFacts,
    RateRule,
)
from broker.core.words.errors import InvalidError
from broker.core.words.money import Money

NOW = datetime(2026, 11, 23, 21, 45, tzinfo=UTC)
PER = frozenset({Scope.AGENT, Scope.CONNECTOR})
CUSTOMERS = BudgetRule("seen", PER, CUSTOMERS_UNIT, Window.DAY, 50)
RECORDS = BudgetRule("records", PER, RECORDS_UNIT, Window.LAST_HOUR, 200)
READ = LimitFacts(
    tenant="demo",
    environment="dev",
    use_case="retail-care",
    agent_id="agent-1",
    tool="orders.get",
    customer_ref="ref-of-a-customer",
    connector="retail",
    reads=True,
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
    keys = rate_keys((CALLS, LOOKUPS), READ)
    assert len(keys) == 2
    for rate in keys:
        assert rate.key.startswith("{demo}:dev:rate:")
        assert rate.key.count("{") == rate.key.count("}") == 1
        assert "ref-of" not in rate.key
        assert "agent-1" not in rate.key
    assert [rate.key for rate in keys] == sorted(rate.key for rate in keys)


def test_a_rate_is_counted_for_every_link_of_a_chain() -> None:
    """Each counter is the one that the agent has when it asks for itself."""
    chain = ("agent-2", "agent-3")
    counted = {one.key for one in rate_keys((CALLS,), replace(READ, chain=chain))}
    alone = [
        rate_keys((CALLS,), replace(READ, agent_id=agent))[0].key
        for agent in ("agent-1", *chain)
    ]
    assert counted == {*alone}
    assert len(counted) == 3
    shared = replace(CALLS, per=frozenset({Scope.TOOL}))
    assert len(rate_keys((shared,), replace(READ, chain=chain))) == 1


def test_an_unbound_customer_has_no_counter_per_customer() -> None:
    keys = rate_keys((CALLS, LOOKUPS), replace(READ, customer_ref=""))
    assert [rate.rule_id for rate in keys] == ["calls"]


@pytest.mark.parametrize(
    "change", [{"agent_id": "b"}, {"tool": "b"}, {"customer_ref": "b"}, {"tenant": "b"}]
)
def test_agent_tool_customer_and_tenant_are_counted_apart(change) -> None:
    (mine,) = rate_keys((LOOKUPS,), READ)
    (theirs,) = rate_keys((LOOKUPS,), replace(READ, **change))
    assert mine.key != theirs.key


def test_a_rate_for_other_tools_counts_nothing() -> None:
    assert rate_keys((replace(CALLS, tools=frozenset({"x.y"})),), READ) == ()


def test_an_action_has_at_most_so_many_rate_keys() -> None:
    rules = tuple(replace(CALLS, rule_id=f"r{n}") for n in range(RATE_KEYS_MAX + 1))
    assert len(rate_keys(rules[:RATE_KEYS_MAX], READ)) == RATE_KEYS_MAX
    with pytest.raises(InvalidError, match="more than"):
        rate_keys(rules, READ)


def test_the_answer_speaks_of_the_tightest_counter() -> None:
    keys = rate_keys((CALLS, LOOKUPS), READ)
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
    keys = rate_keys((CALLS, LOOKUPS), READ)
    for before, after in zip(keys, smaller(keys), strict=True):
        assert after.interval_us == before.interval_us * PROCESS_SHARE
        assert 1 <= after.burst <= max(1, before.burst // PROCESS_SHARE)


def names(facts: LimitFacts) -> list[str]:
    lines = lines_for((CUSTOMERS, RECORDS), facts, now=NOW)
    return sorted(line.rule_id for line in lines)


def test_a_read_takes_a_customer_and_a_record() -> None:
    by_rule = {x.rule_id: x for x in lines_for((CUSTOMERS, RECORDS), READ, now=NOW)}
    assert by_rule["seen"].member == "ref-of-a-customer"
    assert by_rule["records"].member == ""
    assert {line.amount for line in by_rule.values()} == {1}
    assert all(line.of_reading for line in by_rule.values())


def test_what_reads_nothing_takes_nothing_of_what_is_read() -> None:
    assert names(replace(READ, reads=False)) == []
    refund = replace(READ, reads=False, amount=Money(300, "USD"))
    assert names(refund) == ["uncovered"]


def test_a_read_without_a_customer_is_still_a_record() -> None:
    assert names(replace(READ, customer_ref="")) == ["records"]


def test_another_connector_has_a_counter_of_its_own() -> None:
    ids = {
        line.budget_id
        for connector in ("retail", "billing")
        for line in lines_for(
            (CUSTOMERS, RECORDS), replace(READ, connector=connector), now=NOW
        )
    }
    assert len(ids) == 4


@pytest.mark.parametrize(("records", "more"), [(0, []), (1, []), (2, [1]), (40, [39])])
def test_the_records_of_a_read_are_counted_beside_the_first(records, more) -> None:
    found = record_lines((CUSTOMERS, RECORDS), READ, records=records, now=NOW)
    assert [line.amount for line in found] == more
    assert {line.rule_id for line in found} <= {"records"}
