"""The keys that access tokens are signed with: kept sealed, known by every replica."""

from broker.effects.signing.ring import REFRESH_EVERY_S, SigningRing
from broker.effects.signing.sealed import SealedKeys, Where, key_provider

__all__ = [
    "REFRESH_EVERY_S",
    "SealedKeys",
    "SigningRing",
    "Where",
    "key_provider",
]
