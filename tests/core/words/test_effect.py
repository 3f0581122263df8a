"""The tier follows from the effect."""

from __future__ import annotations

import pytest

from broker.core.words.effect import Effect, Tier, is_consequential, tier_of


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
