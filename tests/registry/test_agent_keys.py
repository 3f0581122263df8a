"""An agent's keys: two slots, an overlap that ends, and never none."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.core.identity.assertions import KEY_SLOTS_MAX
from broker.core.words.errors import ConflictError, InvalidError
from broker.core.words.identity import RegisteredKey
from broker.registry.agents import (
    OVERLAP_S_MAX,
    AgentRow,
    AgentStatus,
    with_new_key,
    without_key,
)
from tests.support.identities import key_of

NOW = datetime(2026, 11, 26, tzinfo=UTC)


def key(name: str) -> RegisteredKey:
    return RegisteredKey(key_of(name).public())


def agent(*keys: RegisteredKey) -> AgentRow:
    return AgentRow(
        agent_id="a",
        revision=1,
        environment="dev",
        name="care",
        owner="o",
        use_case="retail-care",
        tier_max=3,
        tools=frozenset(),
        keys=keys,
        status=AgentStatus.ACTIVE,
    )


def valid(row: AgentRow, now: datetime) -> list[str]:
    return [slot.key.kid for slot in row.keys if slot.valid_at(now)]


@given(overlap_s=st.integers(0, OVERLAP_S_MAX))
def test_the_new_key_works_at_once_and_the_earlier_one_for_the_overlap(
    overlap_s: int,
) -> None:
    old, new = key("old"), key("new")
    row = with_new_key(agent(old), new, now=NOW, overlap_s=overlap_s)
    assert valid(row, NOW) == [
        *([old.key.kid] if overlap_s else []),
        new.key.kid,
    ]
    assert valid(row, NOW + timedelta(seconds=overlap_s)) == [new.key.kid]
    assert len(row.keys) <= KEY_SLOTS_MAX


def test_a_third_key_waits_for_the_end_of_the_first() -> None:
    two = with_new_key(agent(key("one")), key("two"), now=NOW, overlap_s=60)
    with pytest.raises(ConflictError, match="both slots"):
        with_new_key(two, key("three"), now=NOW, overlap_s=60)
    later = NOW + timedelta(seconds=60)
    three = with_new_key(two, key("three"), now=later, overlap_s=60)
    assert [s.key.kid for s in three.keys] == [key("two").key.kid, key("three").key.kid]


def test_an_overlap_never_lengthens_a_key_that_was_to_end_sooner() -> None:
    soon = NOW + timedelta(seconds=10)
    row = with_new_key(
        agent(replace(key("one"), not_after=soon)), key("two"), now=NOW, overlap_s=3_600
    )
    assert row.keys[0].not_after == soon


@pytest.mark.parametrize("overlap_s", [-1, OVERLAP_S_MAX + 1])
def test_an_overlap_beyond_its_limits_is_refused(overlap_s: int) -> None:
    with pytest.raises(InvalidError):
        with_new_key(agent(key("one")), key("two"), now=NOW, overlap_s=overlap_s)


def test_the_same_key_again_and_keys_of_a_revoked_agent_are_refused() -> None:
    with pytest.raises(ConflictError, match="has this key"):
        with_new_key(agent(key("one")), key("one"), now=NOW, overlap_s=60)
    gone = replace(agent(key("one")), status=AgentStatus.REVOKED)
    with pytest.raises(ConflictError, match="revoked"):
        with_new_key(gone, key("two"), now=NOW, overlap_s=60)


def test_a_key_is_dropped_unless_it_is_the_last_one_or_none_of_its() -> None:
    one, two = key("one"), key("two")
    assert without_key(agent(one, two), one.key.kid).keys == (two,)
    for row, kid in ((agent(one), one.key.kid), (agent(one, two), "x" * 43)):
        with pytest.raises(ConflictError):
            without_key(row, kid)
