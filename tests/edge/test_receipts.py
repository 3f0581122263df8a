"""Receipt values: what the pointers find in the raw answer, or nothing."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.core.warrants.orders import VALUE_CHARS_MAX, is_receipt_value
from broker.core.words.tool import Find
from broker.edge.receipts import RESPONSE_DEPTH_MAX, extract

keys = st.text(max_size=4) | st.sampled_from(["a/b", "~", "~1", "", "0"])
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**53) + 1, 2**53 - 1)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
)
documents = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3)
    ),
    max_leaves=10,
)


def places(value: Any, at: str = "") -> list[tuple[str, Any]]:
    """Return every pointer into a document with what it points to."""
    found = [(at, value)]
    if isinstance(value, dict):
        for key, inner in value.items():
            part = key.replace("~", "~0").replace("/", "~1")
            found += places(inner, f"{at}/{part}")
    if isinstance(value, list):
        for index, inner in enumerate(value):
            found += places(inner, f"{at}/{index}")
    return found


@given(document=documents)
def test_every_pointer_finds_what_it_points_to(document) -> None:
    body = json.dumps(document).encode()
    for pointer, value in places(document):
        values, alarms = extract(body, {"v": pointer})
        if is_receipt_value(value):
            assert values == {"v": value}
            assert type(values["v"]) is type(value)
        else:
            assert (values, alarms) == ({}, ("value_unusable",))


@pytest.mark.parametrize(
    "pointer",
    ["/b", "/a/c", "/l/3", "/l/-1", "/l/00", "/l/01", "/l/x", "/l/-", "/s/0", "/n/0"],
)
def test_a_pointer_that_finds_nothing_gives_nothing(pointer) -> None:
    body = b'{"a": {"b": 1}, "l": [1, 2, 3], "s": "text", "n": null}'
    assert extract(body, {"v": pointer}) == ({}, ())


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b'{"a": 1, "a": 2}',
        b'{"a": NaN}',
        b'{"a": 9007199254740993}',
        b'{"a": 1}{}',
        b'{"a": "\xff"}',
        b'{"a": "\\ud800"}',
        b"\xef\xbb\xbf{}",
    ],
)
def test_an_answer_with_two_meanings_gives_nothing_and_an_alarm(body) -> None:
    assert extract(body, {"v": "/a"}) == ({}, ("not_json",))
    assert extract(body, {}) == ({}, ())


def test_a_value_that_no_two_readers_agree_on_is_left_out() -> None:
    body = b'{"i": 12, "f": 12.0, "e": 1e2, "l": [], "o": {}, "b": true}'
    pointers = {name: f"/{name}" for name in "ifelob"}
    values, alarms = extract(body, pointers)
    assert values == {"i": 12, "b": True}
    assert alarms == ("value_unusable",)


def test_a_text_of_the_largest_length_is_taken_and_a_longer_one_is_not() -> None:
    for extra, expected in ((0, 1), (1, 0)):
        text = "x" * (VALUE_CHARS_MAX + extra)
        values, _ = extract(json.dumps({"v": text}).encode(), {"v": "/v"})
        assert len(values) == expected


def test_an_answer_nests_to_the_limit_and_not_deeper() -> None:
    def nested(depth: int) -> bytes:
        return b'{"v":1,"w":' + b"[" * (depth - 1) + b"]" * (depth - 1) + b"}"

    assert extract(nested(RESPONSE_DEPTH_MAX), {"v": "/v"}) == ({"v": 1}, ())
    assert extract(nested(RESPONSE_DEPTH_MAX + 1), {"v": "/v"}) == ({}, ("not_json",))


FIND = Find(list="/data", mark="/metadata/action", argument="action", more="/has_more")


def found(data: Any, *, has_more: Any = False) -> dict[str, Any]:
    body = json.dumps({"data": data, "has_more": has_more}).encode()
    return extract(body, {"amount": "/amount"}, find=FIND, wanted="mine")[0]


def one(action: Any, amount: int) -> dict[str, Any]:
    return {"amount": amount, "metadata": {"action": action}}


def test_the_one_element_with_our_mark_gives_the_values() -> None:
    assert found([one("other", 1), one("mine", 2), {"metadata": {}}, 7]) == {
        "found": 1,
        "more": False,
        "amount": 2,
    }


def test_no_element_or_two_of_them_give_no_values_and_say_how_many() -> None:
    assert found([one("other", 1)]) == {"found": 0, "more": False}
    assert found([]) == {"found": 0, "more": False}
    assert found([one("mine", 1), one("mine", 2)]) == {"found": 2, "more": False}


@pytest.mark.parametrize("has_more", [True, 1, "yes", 0, [], {}])
def test_a_list_that_may_go_on_says_so(has_more: Any) -> None:
    assert found([], has_more=has_more)["more"] is True


@pytest.mark.parametrize("data", [None, {}, "mine", 1])
def test_what_is_no_list_gives_nothing(data: Any) -> None:
    assert found(data) == {}


@pytest.mark.parametrize("mark", [1, True, None, ["mine"]])
def test_a_mark_of_another_type_is_not_ours(mark: Any) -> None:
    assert found([one(mark, 1)])["found"] == 0
