"""Epochs decide whether what was issued still holds."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from broker.core.words.subject import Epochs
from tests.support.cases import interaction

scopes = st.dictionaries(st.text(min_size=1, max_size=4), st.integers(0, 5), max_size=4)


@given(seen=scopes, now=scopes)
def test_a_token_holds_until_one_of_its_own_scopes_moves_on(
    seen: dict[str, int], now: dict[str, int]
) -> None:
    moved = any(now.get(scope, 0) > epoch for scope, epoch in seen.items())
    assert Epochs(tuple(seen.items())).current_under(now) is not moved


def test_an_interaction_is_bound_by_its_customer() -> None:
    assert interaction().bound
    assert not interaction(customer_id="").bound
