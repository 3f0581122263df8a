"""Money is a whole number of minor units and a currency."""

from __future__ import annotations

from typing import Any

import pytest

from broker.core.words.money import AMOUNT_MINOR_UNITS_MAX, Money


@pytest.mark.parametrize(
    "units", [-1, 1.0, True, "1", None, AMOUNT_MINOR_UNITS_MAX + 1]
)
def test_what_is_no_whole_amount_is_no_money(units: Any) -> None:
    assert Money(AMOUNT_MINOR_UNITS_MAX, "USD").minor_units == AMOUNT_MINOR_UNITS_MAX
    with pytest.raises(ValueError, match="minor_units"):
        Money(units, "USD")


@pytest.mark.parametrize("currency", ["usd", "US", "USDX", "", "ÜSD"])
def test_what_is_no_currency_is_no_money(currency: str) -> None:
    with pytest.raises(ValueError, match="4217"):
        Money(1, currency)


def test_money_is_shown_with_its_currency() -> None:
    assert str(Money(123_405, "USD")) == "1,234.05 USD"
