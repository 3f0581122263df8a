"""Parts are put in an order in which each finds what it needs."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.cli.stack.parts import Ends, Part, SocketAnswers, in_order


def part(name: str, *, after: tuple[str, ...] = (), uses: tuple[str, ...] = ()) -> Part:
    return Part(name=name, argv=("/bin/true",), probe=Ends(), after=after, uses=uses)


@st.composite
def possible_parts(draw: st.DrawFn) -> list[Part]:
    """Draw parts that need only earlier ones, then shuffle them."""
    count = draw(st.integers(1, 8))
    parts = []
    for number in range(count):
        earlier = [f"p{before}" for before in range(number)]
        needed = (
            draw(st.lists(st.sampled_from(earlier), unique=True)) if earlier else []
        )
        half = len(needed) // 2
        parts.append(
            part(f"p{number}", after=tuple(needed[:half]), uses=tuple(needed[half:]))
        )
    return draw(st.permutations(parts))


@given(possible_parts())
def test_every_part_comes_after_all_that_it_needs(parts: list[Part]) -> None:
    ordered = in_order(parts)
    assert {one.name for one in ordered} == {one.name for one in parts}
    places = {one.name: place for place, one in enumerate(ordered)}
    for one in ordered:
        assert all(places[name] < places[one.name] for name in one.outlived_by())


def test_a_circle_of_needs_is_refused() -> None:
    with pytest.raises(ValueError, match="need"):
        in_order([part("a", after=("b",)), part("b", uses=("a",))])


def test_a_need_for_a_part_that_is_not_there_is_refused() -> None:
    with pytest.raises(ValueError, match="need"):
        in_order([part("a", after=("gone",))])


def test_only_a_part_that_ends_is_one_shot(tmp_path) -> None:
    assert part("migrate").one_shot
    stays = Part(name="edge", argv=("x",), probe=SocketAnswers(tmp_path / "s"))
    assert not stays.one_shot
