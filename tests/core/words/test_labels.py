"""Levels of integrity by their words."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.core.words.labels import Integrity


@given(level=st.sampled_from(Integrity))
def test_an_integrity_is_found_by_its_word(level: Integrity) -> None:
    assert Integrity.from_word(level.word) is level


def test_an_unknown_integrity_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown"):
        Integrity.from_word("certain")
