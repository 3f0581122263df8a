"""What a tool can cause, and the tier that follows from it."""

from __future__ import annotations

from enum import IntEnum, StrEnum
from typing import TYPE_CHECKING, assert_never

if TYPE_CHECKING:
    from collections.abc import Iterable


class Tier(IntEnum):
    """How much a wrong action can hurt; computed, never sent by a caller."""

    INTERNAL = 1
    CUSTOMER_FACING = 2
    CONSEQUENTIAL = 3


class Effect(StrEnum):
    """What a tool can cause; each tool's manifest declares exactly one."""

    READ = "read"
    DRAFT = "draft"
    ANSWER = "answer"
    STATE = "state"
    MONEY = "money"
    IDENTITY = "identity"
    ENTITLEMENT = "entitlement"


def tier_of(effect: Effect) -> Tier:
    """Return the tier that follows from an effect. Source: DESIGN, chapter 1."""
    match effect:
        case Effect.READ | Effect.DRAFT:
            return Tier.INTERNAL
        case Effect.ANSWER:
            return Tier.CUSTOMER_FACING
        case Effect.STATE | Effect.MONEY | Effect.IDENTITY | Effect.ENTITLEMENT:
            return Tier.CONSEQUENTIAL
        case _:
            assert_never(effect)


def tier_reached(effects: Iterable[Effect | None]) -> Tier:
    """Return the highest tier among effects; of nothing, the lowest.

    None is an effect that nobody declared here: it counts as the worst there is.
    """
    tiers = (Tier.CONSEQUENTIAL if e is None else tier_of(e) for e in effects)
    return max(tiers, default=Tier.INTERNAL)


def is_consequential(effect: Effect) -> bool:
    """Return whether repeating the call must give the same action (not a new one)."""
    return effect not in {Effect.READ, Effect.DRAFT}
