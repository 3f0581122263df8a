"""A use case's tier is the highest that its tools reach: computed, never stated."""

from __future__ import annotations

import pytest

from broker.core.words.effect import Tier
from broker.core.words.labels import Grade
from broker.registry.reading import RowError
from broker.registry.use_cases import UseCaseRow, parse_use_case, use_case_body
from tests.support.cases import all_tools
from tests.support.identity.rows import row_of


def use_case(*tools: str) -> UseCaseRow:
    return UseCaseRow(
        use_case="retail-care",
        revision=1,
        name="Retail care",
        owner="0197a000-0000-7000-8000-0000000000b4",
        purpose="service",
        tools=frozenset(tools),
        retention_days=365,
        release="",
        release_grade=Grade.ABSENT,
    )


@pytest.mark.control("2.2")
@pytest.mark.parametrize(
    ("tools", "tier"),
    [
        ((), Tier.INTERNAL),
        (("customers.get", "orders.get"), Tier.INTERNAL),
        (("customers.get", "answers.send"), Tier.CUSTOMER_FACING),
        (("answers.send", "orders.cancel"), Tier.CONSEQUENTIAL),
        (("orders.refund",), Tier.CONSEQUENTIAL),
        (("orders.get", "nobody.knows"), Tier.CONSEQUENTIAL),
    ],
)
def test_a_use_case_has_the_highest_tier_that_its_tools_reach(tools, tier) -> None:
    assert use_case(*tools).tier(all_tools()) is tier


@pytest.mark.control("2.2")
def test_nobody_can_state_the_tier_of_a_use_case() -> None:
    body = use_case_body(use_case("orders.refund"))
    assert "tier" not in body
    with pytest.raises(RowError, match="not known"):
        parse_use_case(row_of(body | {"tier": 1}))
