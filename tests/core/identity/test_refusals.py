"""What is written down of refusals: the first ones, a rate, and how many more."""

from __future__ import annotations

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from broker.core.identity.refusals import (
    HOLDER_REFUSALS_PER_MINUTE_MAX,
    HOLDERS_KEPT_MAX,
    REFUSALS_BURST_MAX,
    REFUSALS_PER_S_MAX,
    HolderRefusals,
    Refusals,
)
from tests.support.identities import NOW


@given(st.lists(st.integers(0, 40), max_size=60))
def test_every_refusal_is_written_down_or_counted_with_the_next_that_is(
    pauses: list[int],
) -> None:
    bucket, now, written, counted = Refusals(), NOW, 0, 0
    for pause in pauses:
        now += timedelta(milliseconds=100 * pause)
        said = bucket.admit(now)
        written += said is not None
        counted += 0 if said is None else said + 1
    assert counted + bucket.held_back == len(pauses)
    assert written <= REFUSALS_BURST_MAX + sum(pauses) / 10 * REFUSALS_PER_S_MAX


def test_a_holder_has_so_many_in_a_minute_and_not_one_more() -> None:
    bucket = HolderRefusals().of("agent:1")
    said = [bucket.admit(NOW) for _ in range(HOLDER_REFUSALS_PER_MINUTE_MAX + 1)]
    assert said == [0] * HOLDER_REFUSALS_PER_MINUTE_MAX + [None]
    assert bucket.admit(NOW + timedelta(minutes=1)) == 1


def test_so_many_holders_are_counted_apart_and_the_first_is_forgotten():
    holders = HolderRefusals()
    first = holders.of("agent:0")
    first.admit(NOW + timedelta(seconds=1))
    for number in range(1, HOLDERS_KEPT_MAX):
        holders.of(f"agent:{number}")
    assert holders.of("agent:0") is first
    holders.of("agent:one-more")
    assert len(holders.kept) == HOLDERS_KEPT_MAX
    assert "agent:1" not in holders.kept
