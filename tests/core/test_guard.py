"""What guards find in arguments, and what they derive from them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.core.guard import (
    CHAIN,
    FINDINGS_MAX,
    Inspection,
    Origin,
    bind,
    check_provenance,
    inspect,
    value_at,
    values_at,
)
from broker.core.words.decision import Finding, FindingKind, VerdictWord
from broker.core.words.errors import InvalidError
from broker.core.words.labels import Integrity
from broker.core.words.money import AMOUNT_MINOR_UNITS_MAX, Money
from tests.support.cases import REFUND, tool

TOOL = tool("orders.refund")
GOOD = (Origin(Integrity.SYSTEM_OF_RECORD, "customers.get#/x"),)


def inspection(
    *,
    bound_customer: bool = True,
    shown: bool = True,
    origins: tuple[Origin, ...] = GOOD,
) -> Inspection:
    return Inspection(
        tool=TOOL,
        arguments=REFUND,
        bound=bind(TOOL, REFUND),
        customer_bound=bound_customer,
        shown=frozenset({("order", REFUND["order_id"])} if shown else ()),
        origins={"/payment_method_id": origins},
    )


@given(amount=st.integers(min_value=1, max_value=AMOUNT_MINOR_UNITS_MAX))
def test_every_whole_positive_amount_is_bound_exactly(amount: int) -> None:
    bound = bind(TOOL, REFUND | {"amount_minor_units": amount})
    assert bound.amount == Money(amount, "USD")
    assert bound.objects == (("order", REFUND["order_id"]),)


@pytest.mark.parametrize(
    "amount", [0, -1, 1.0, 1.5, "25", True, None, AMOUNT_MINOR_UNITS_MAX + 1]
)
def test_anything_else_is_no_amount_and_the_error_names_the_field(amount: Any) -> None:
    with pytest.raises(InvalidError) as refused:
        bind(TOOL, REFUND | {"amount_minor_units": amount})
    assert refused.value.pointer == "/arguments/amount_minor_units"


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"currency": "EUR"}, "/arguments/currency"),
        ({"order_id": "../admin"}, "/arguments/order_id"),
        ({"extra": 1}, "/arguments"),
    ],
)
def test_a_refused_argument_is_named_and_never_repeated(
    change: dict[str, Any], pointer: str
) -> None:
    with pytest.raises(InvalidError) as refused:
        bind(TOOL, REFUND | change)
    assert refused.value.pointer == pointer
    assert "admin" not in refused.value.detail


def test_a_missing_argument_is_named() -> None:
    with pytest.raises(InvalidError, match="order_id is missing"):
        bind(TOOL, {k: v for k, v in REFUND.items() if k != "order_id"})


def test_clean_arguments_are_clean() -> None:
    assert inspect(inspection(), CHAIN).word is VerdictWord.CLEAN


def test_an_object_that_was_not_shown_blocks() -> None:
    verdict = inspect(inspection(shown=False), CHAIN)
    assert verdict.word is VerdictWord.BLOCK
    assert verdict.findings[0].code == "object_not_shown"


def test_each_element_of_a_list_is_an_object_and_must_have_been_shown() -> None:
    back = tool("orders.return")
    arguments = {
        "order_id": "W0000001",
        "item_ids": ["1111111111", "2222222222"],
        "payment_method_id": "paypal_5727330",
        "amount_minor_units": 1,
        "currency": "USD",
    }
    bound = bind(back, arguments)
    assert ("item", "2222222222") in bound.objects
    assert len(bound.objects) == 4
    verdict = inspect(
        Inspection(
            tool=back,
            arguments=arguments,
            bound=bound,
            customer_bound=True,
            shown=frozenset({*bound.objects} - {("item", "2222222222")}),
            origins={"/payment_method_id": GOOD},
        ),
        CHAIN,
    )
    (finding,) = verdict.findings
    assert (finding.code, finding.pointer) == ("object_not_shown", "/item_ids/1")
    assert verdict.word is VerdictWord.BLOCK


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        ({"a": "x"}, (("/a", "x"),)),
        ({"a": ["x", "y"]}, (("/a/0", "x"), ("/a/1", "y"))),
        ({"a": []}, ()),
        ({}, ()),
    ],
)
def test_what_is_bound_is_a_value_or_each_element_of_a_list(arguments, found) -> None:
    assert values_at(arguments, "/a") == found


def test_no_customer_blocks() -> None:
    assert inspect(inspection(bound_customer=False), CHAIN).word is VerdictWord.BLOCK


@pytest.mark.control("R1")
@given(level=st.sampled_from(Integrity))
def test_an_argument_is_held_exactly_when_its_best_origin_is_too_low(
    level: Integrity,
) -> None:
    found = check_provenance(inspection(origins=(Origin(level, "somewhere"),)))
    assert bool(found) is (level < Integrity.VERIFIED_CUSTOMER)
    assert all(f.pointer == "/payment_method_id" for f in found)


@given(levels=st.lists(st.sampled_from(Integrity), max_size=6))
def test_one_more_origin_never_makes_an_argument_worse(levels: list[Integrity]) -> None:
    def held(some: list[Integrity]) -> bool:
        places = tuple(Origin(level, "x") for level in some)
        return bool(check_provenance(inspection(origins=places)))

    assert held([*levels, Integrity.THIRD_PARTY]) <= held(levels)


def test_an_argument_from_nowhere_is_the_models_own() -> None:
    [finding] = check_provenance(inspection(origins=()))
    assert "what a model wrote; needed is the word of the" in finding.text


def test_findings_are_capped() -> None:
    many = tuple(
        Finding(FindingKind.CONTENT, "x", f"/{n}", "") for n in range(FINDINGS_MAX + 1)
    )
    verdict = inspect(inspection(), (lambda _: many,))
    assert len(verdict.findings) == FINDINGS_MAX
    assert verdict.word is VerdictWord.HOLD


@pytest.mark.parametrize(
    ("pointer", "value"),
    [("/a", 1), ("/b/c~1d", 2), ("/b/x~0y", 3), ("/none", None), ("/a/b", None)],
)
def test_a_pointer_finds_its_value_or_nothing(pointer: str, value: object) -> None:
    assert value_at({"a": 1, "b": {"c/d": 2, "x~y": 3}}, pointer) == value
