"""A tool knows its tier and its requests."""

from __future__ import annotations

import pytest

from broker.core.words.effect import Tier
from tests.support.cases import all_tools, tool


def test_every_tool_of_the_catalog_has_the_tier_of_its_effect() -> None:
    tiers = {one.name: one.tier for one in all_tools()}
    assert tiers["orders.refund"] is Tier.CONSEQUENTIAL
    assert tiers["answers.send"] is Tier.CUSTOMER_FACING
    assert tiers["customers.get"] is Tier.INTERNAL


def test_a_request_is_found_by_its_id_only() -> None:
    refund = tool("orders.refund")
    assert refund.request("refund").method == "POST"
    with pytest.raises(KeyError):
        refund.request("other")
