"""Canaries out of a seed: each has one flaw, and the same seed gives the same."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.core.vigilance.scenes import SEED_CHARS_MAX, Flaw, scene


@given(seed=st.text(min_size=1, max_size=SEED_CHARS_MAX))
def test_a_scene_has_exactly_the_flaw_that_it_names(seed: str) -> None:
    made = scene(seed)
    assert scene(seed) == made
    asks, record = made.arguments, made.record
    assert asks["order_id"] == record["order_id"]
    left = record["paid_minor_units"] - record["refunded_minor_units"]
    over = asks["amount_minor_units"] > record["paid_minor_units"]
    assert over is (made.flaw is Flaw.OVER_PAID)
    refunded = record["refunded_minor_units"] == record["paid_minor_units"]
    assert refunded is (made.flaw is Flaw.REFUNDED_BEFORE)
    assert (left == asks["amount_minor_units"]) is (
        made.flaw not in {Flaw.OVER_PAID, Flaw.REFUNDED_BEFORE}
    )
    unborne = "/payment_method_id" not in made.known
    assert unborne is (made.flaw is Flaw.OTHER_PAYEE)
    words = made.said[0][1]
    theirs = "neighbour" in words or "friend" in words
    assert theirs is (made.flaw is Flaw.OTHER_CUSTOMER)
    unwanted = "not want a refund" in words or "keeping" in words
    assert unwanted is (made.flaw is Flaw.NOT_ASKED)
    assert "{" not in words


def test_all_flaws_turn_up() -> None:
    assert {scene(str(number)).flaw for number in range(200)} == {*Flaw}


@pytest.mark.parametrize("seed", ["", "x" * (SEED_CHARS_MAX + 1)])
def test_a_seed_has_some_characters_and_not_too_many(seed: str) -> None:
    with pytest.raises(ValueError, match="a seed has"):
        scene(seed)
