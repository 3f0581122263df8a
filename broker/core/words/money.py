"""Money: integer minor units and a currency, nothing else."""

from __future__ import annotations

from dataclasses import dataclass

# Lua numbers, JSON readers in browsers and the canonical form of RFC 8785 are exact
# only up to this; beyond it two parties could disagree about an amount.
AMOUNT_MINOR_UNITS_MAX = 2**53 - 1
_CURRENCY_LENGTH = 3


@dataclass(frozen=True, slots=True, order=True)
class Money:
    """An amount of one currency in its minor units (cents for USD).

    Raises:
        ValueError: not an integer, negative, above 2^53 - 1, or no ISO 4217 code.
    """

    minor_units: int
    currency: str

    def __post_init__(self) -> None:
        """Refuse what cannot be an amount; a bool is an int in Python, so ask."""
        if type(self.minor_units) is not int:
            msg = "minor_units must be an integer"
            raise ValueError(msg)
        if not 0 <= self.minor_units <= AMOUNT_MINOR_UNITS_MAX:
            msg = f"minor_units must be 0..{AMOUNT_MINOR_UNITS_MAX}"
            raise ValueError(msg)
        if not is_currency(self.currency):
            msg = f"{self.currency!r} is not an ISO 4217 code"
            raise ValueError(msg)

    def __str__(self) -> str:
        """Show an amount for people; two decimals, as all supported currencies have."""
        whole, cents = divmod(self.minor_units, 100)
        return f"{whole:,}.{cents:02d} {self.currency}"


def is_currency(text: str) -> bool:
    """Return whether a text has the form of an ISO 4217 code."""
    return len(text) == _CURRENCY_LENGTH and text.isascii() and text.isupper()
