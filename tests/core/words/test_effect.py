"""The tier follows from the effect."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.core.words.effect import (
    Effect,
    Tier,
    is_consequential,
    tier_of,
    tier_reached,
)


@pytest.mark.control("2.2")
@pytest.mark.parametrize(
    ("effect", "tier"),
    [
        (Effect.READ, Tier.INTERNAL),
        (Effect.DRAFT, Tier.INTERNAL),
        (Effect.ANSWER, Tier.CUSTOMER_FACING),
        (Effect.STATE, Tier.CONSEQUENTIAL),
        (Effect.MONEY, Tier.CONSEQUENTIAL),
        (Effect.IDENTITY, Tier.CONSEQUENTIAL),
        (Effect.ENTITLEMENT, Tier.CONSEQUENTIAL),
    ],
)
def test_the_tier_follows_from_the_effect(effect: Effect, tier: Tier) -> None:
    assert tier_of(effect) is tier
    assert is_consequential(effect) is (tier > Tier.INTERNAL)


@given(effects=st.lists(st.sampled_from(Effect)), more=st.sampled_from(Effect))
def test_more_effects_never_reach_a_lower_tier(effects, more) -> None:
    reached = tier_reached([*effects, more])
    assert reached >= max(tier_reached(effects), tier_of(more))
    assert reached in {tier_of(effect) for effect in (*effects, more)}


def test_an_effect_that_nobody_declared_counts_as_the_worst() -> None:
    assert tier_reached([Effect.READ, None]) is Tier.CONSEQUENTIAL
    assert tier_reached([]) is Tier.INTERNAL
