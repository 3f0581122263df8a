"""Labels: how far a value may be trusted, and who may see it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, StrEnum


class Integrity(IntEnum):
    """Where a value comes from; a higher number may be trusted with more."""

    MODEL_AUTHORED = 0
    THIRD_PARTY = 1
    UNVERIFIED_CUSTOMER = 2
    VERIFIED_CUSTOMER = 3
    SYSTEM_OF_RECORD = 4
    APPROVED_POLICY = 5

    @property
    def word(self) -> str:
        """Return the name used in manifests, entries and answers."""
        return self.name.lower()

    @classmethod
    def from_word(cls, word: str) -> Integrity:
        """Parse the lower-case name.

        Raises:
            ValueError: there is no such level.
        """
        try:
            return cls[word.upper()]
        except KeyError:
            msg = f"unknown integrity {word!r}"
            raise ValueError(msg) from None


class Confidentiality(StrEnum):
    """Who may see a value."""

    PUBLIC = "public"
    INTERNAL = "internal"
    CUSTOMER = "customer"
    RESTRICTED = "restricted"


class Grade(StrEnum):
    """How an evidence field is known."""

    OBSERVED = "observed"
    ATTESTED = "attested"
    ABSENT = "absent"


@dataclass(frozen=True, slots=True)
class Label:
    """What travels with every returned value."""

    integrity: Integrity
    confidentiality: Confidentiality
