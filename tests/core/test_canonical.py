"""Strict JSON in, RFC 8785 out."""

from __future__ import annotations

import hashlib
import json
import time

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from broker.core import canonical as canonical_module
from broker.core.canonical import (
    DEPTH_MAX,
    INTEGER_MAX,
    NUMBER_CHARS_MAX,
    POINTER_CHARS_MAX,
    CanonicalError,
    canonical,
    digest,
    parse_json,
)

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
integers = st.integers(-INTEGER_MAX, INTEGER_MAX)
scalars = st.none() | st.booleans() | integers | texts
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4)
    ),
    max_leaves=20,
)
floats = st.floats(-INTEGER_MAX, INTEGER_MAX, allow_nan=False, allow_infinity=False)


def read(data, *, bytes_max=1_000_000, depth_max=32, floats=False):
    raw = data.encode() if isinstance(data, str) else data
    return parse_json(raw, bytes_max=bytes_max, depth_max=depth_max, floats=floats)


def refusal(data, **limits) -> CanonicalError:
    with pytest.raises(CanonicalError) as caught:
        read(data, **limits)
    return caught.value


@given(values)
def test_what_is_written_canonically_reads_back_as_the_same_value(value):
    assert read(canonical(value)) == value


@given(values)
def test_any_other_way_of_writing_a_value_leads_to_the_same_bytes(value):
    loose = json.dumps(value, indent=2, ensure_ascii=True)
    assert canonical(read(loose)) == canonical(value)


@given(st.dictionaries(texts, integers, min_size=1, max_size=8))
def test_keys_are_ordered_by_utf16_code_units_whatever_order_they_came_in(value):
    backwards = dict(reversed(list(value.items())))
    assert canonical(backwards) == canonical(value)
    keys = list(json.loads(canonical(value)))
    assert keys == sorted(value, key=lambda key: key.encode("utf-16be"))


@given(values | floats | st.dictionaries(texts, floats | integers | texts))
def test_the_bytes_are_those_of_the_library_for_any_value(value):
    assert canonical(value) == rfc8785.dumps(value)


@pytest.mark.parametrize("extra", [0, 1])
def test_the_bytes_are_those_of_the_library_for_many_values(extra):
    many = list(range(canonical_module._PLAIN_VALUES_MAX - 1 + extra))  # noqa: SLF001
    assert canonical(many) == rfc8785.dumps(many)


@given(floats)
def test_a_fraction_survives_a_round_trip_where_fractions_are_accepted(number):
    once = canonical(read(json.dumps([number]), floats=True))
    assert canonical(read(once, floats=True)) == once
    assert read(once, floats=True) == [number]


def test_the_example_of_the_standard_has_the_bytes_of_the_standard() -> None:
    # RFC 8785 section 3.2.2, its numbers within the range that we accept.
    source = (
        b'{"numbers":[4.50,2e-3,0.000000000000000000000000001],'
        b'"string":"\\u20ac$\\u000F\\u000aA\'\\u0042\\u0022\\u005c\\\\\\"\\/",'
        b'"literals":[null,true,false]}'
    )
    expected = (
        '{"literals":[null,true,false],"numbers":[4.5,0.002,1e-27],'
        '"string":"€$\\u000f\\nA\'B\\"\\\\\\\\\\"/"}'
    )
    assert canonical(read(source, floats=True)) == expected.encode()


def test_the_digest_is_the_hex_sha256_of_the_canonical_bytes() -> None:
    assert digest({"b": 1, "a": []}) == hashlib.sha256(b'{"a":[],"b":1}').hexdigest()


@pytest.mark.parametrize(
    ("data", "pointer"),
    [
        ('{"a": 1, "a": 1}', "/a"),
        ('{"x": [0, {"a": 1, "b": 2, "a": 3}]}', "/x/1/a"),
        ('{"a/b": {"~": 1, "~": 2}}', "/a~1b/~0"),
        ('{"": {"": 1, "\\u0000": 2, "": 3}}', "//"),
        ('{"\\u0061": 1, "a": 2}', "/a"),
    ],
)
def test_a_key_that_stands_twice_is_refused_with_its_pointer(data, pointer):
    error = refusal(data)
    assert (error.problem, error.pointer) == ("duplicate_key", pointer)


@pytest.mark.parametrize("literal", ["NaN", "Infinity", "-Infinity"])
def test_what_is_no_number_is_refused_even_where_fractions_are_accepted(literal):
    error = refusal(f'{{"amount": {literal}}}', floats=True)
    assert (error.problem, error.pointer) == ("not_finite", "/amount")


@pytest.mark.parametrize("sign", ["", "-"])
def test_an_integer_at_the_limit_is_read_and_one_past_it_is_refused(sign):
    assert read(f"{sign}{INTEGER_MAX}") == int(f"{sign}{INTEGER_MAX}")
    error = refusal(f'[0, {{"n": {sign}{INTEGER_MAX + 1}}}]')
    assert (error.problem, error.pointer) == ("number_out_of_range", "/1/n")


@pytest.mark.parametrize("literal", ["1.0", "1.5", "1e2", "-0.0", "1E400"])
def test_a_fraction_or_exponent_is_refused_unless_asked_for(literal):
    error = refusal(f'{{"amount": {literal}}}')
    assert (error.problem, error.pointer) == ("number_out_of_range", "/amount")


def test_a_fraction_beyond_the_range_is_refused_where_fractions_are_accepted() -> None:
    assert read(f"{INTEGER_MAX}.0", floats=True) == float(INTEGER_MAX)
    for literal in ("9007199254740992.0", "1e400", "-1e400"):
        assert refusal(literal, floats=True).problem == "number_out_of_range"


def test_a_number_literal_has_a_longest_form() -> None:
    longest = "0." + "0" * (NUMBER_CHARS_MAX - 3) + "1"
    assert read(longest, floats=True) == float(longest)
    too_long = longest[:-1] + "01"
    assert refusal(too_long, floats=True).problem == "number_out_of_range"


def test_a_bomb_of_digits_is_refused_without_being_computed() -> None:
    started = time.perf_counter()
    assert refusal("9" * 900_000).problem == "number_out_of_range"
    assert refusal("9" * 900_000 + ".5", floats=True).problem == "number_out_of_range"
    assert time.perf_counter() - started < 1


@pytest.mark.parametrize("opening", ["[", '{"a":'])
def test_nesting_at_the_limit_is_read_and_one_deeper_is_refused(opening):
    closing = "]" if opening == "[" else "}"
    for limit in (1, 7, DEPTH_MAX):
        fits = opening * limit + "0" + closing * limit
        assert read(fits, depth_max=limit) is not None
        deeper = opening * (limit + 1) + "0" + closing * (limit + 1)
        assert refusal(deeper, depth_max=limit).problem == "too_deep"
    assert refusal("[]", depth_max=0).problem == "too_deep"
    assert read('"["', depth_max=0) == "["


@pytest.mark.parametrize(
    "bomb",
    ["[" * 900_000, '{"a":' * 200_000, '["' + '\\"' * 400_000, "[" + '"\\' * 300_000],
)
def test_hostile_nesting_is_refused_quickly_and_never_as_a_recursion_error(bomb):
    started = time.perf_counter()
    assert refusal(bomb).problem in {"too_deep", "not_json"}
    assert time.perf_counter() - started < 2


def test_many_brackets_side_by_side_or_inside_texts_are_not_depth() -> None:
    flat: list[list[int]] = [[] for _ in range(500)]
    assert read(canonical(flat), depth_max=2) == flat
    assert read(canonical(["[{" * 500, '"[{\\' * 9]), depth_max=1)
    assert refusal(canonical([[flat]]), depth_max=3).problem == "too_deep"


def test_no_caller_can_ask_for_nesting_that_would_end_the_interpreter() -> None:
    with pytest.raises(ValueError, match="depth_max"):
        read("0", depth_max=DEPTH_MAX + 1)


def test_a_document_at_the_size_limit_is_read_and_one_byte_more_is_refused() -> None:
    assert read('"1234"', bytes_max=6) == "1234"
    assert refusal('"12345"', bytes_max=6).problem == "too_large"


@pytest.mark.parametrize(
    "data", [b'"\xff"', b'"\xed\xa0\x80"', b'"\xc0\x80"', b'"\xf4\x90\x80\x80"']
)
def test_bytes_that_are_not_utf8_are_refused_with_their_offset(data):
    error = refusal(data)
    assert (error.problem, error.offset) == ("not_utf8", 1)


@pytest.mark.parametrize(
    "data",
    [
        "", " ", "{", "[1,]", '{"a" 1}', "{'a': 1}", "[1] 2", "01", "+1", ".5", "1.",
        "nul", "\ufeff{}", '"\t"', '"\\x"', '"\\ud83"', "/* */ 1", "[1]\x00",
    ],
)  # fmt: skip
def test_what_is_not_json_is_refused(data):
    assert refusal(data, floats=True).problem == "not_json"


@pytest.mark.parametrize(
    ("data", "pointer"),
    [
        ('"\\ud800"', ""),
        ('["", "a\\uDFFFb"]', "/1"),
        ('{"a": {"\\udc00": 1}}', "/a"),
        ('["\\ude00\\ud83d"]', "/0"),
    ],
)
def test_half_a_surrogate_pair_is_refused_with_its_pointer(data, pointer):
    error = refusal(data)
    assert (error.problem, error.pointer) == ("surrogate", pointer)


def test_a_whole_surrogate_pair_and_an_escaped_backslash_are_ordinary_text() -> None:
    assert read('["\\ud83d\\ude00", "\\\\ud800"]') == ["\U0001f600", "\\ud800"]


def test_a_long_path_is_cut_and_costs_no_more_than_the_document() -> None:
    started = time.perf_counter()
    key = "k" * 300_000
    error = refusal(f'{{"{key}": [{"0," * 200_000}NaN]}}')
    assert error.problem == "not_finite"
    assert error.pointer is not None
    assert len(error.pointer) == POINTER_CHARS_MAX
    assert time.perf_counter() - started < 2
    short = "k" * (POINTER_CHARS_MAX - 1)
    assert refusal(f'{{"{short}": NaN}}').pointer == f"/{short}"


def test_a_message_never_echoes_a_refused_value() -> None:
    error = refusal('{"card": 41111111111111111111}')
    assert "4111" not in str(error)


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (INTEGER_MAX + 1, "number_out_of_range"),
        (float("nan"), "not_finite"),
        (float("inf"), "not_finite"),
        ("\ud800", "surrogate"),
        ({"\ud800": 1}, "surrogate"),
        ({1: 1}, "not_json"),
        ({"a": b"bytes"}, "not_json"),
        ({"a": {1, 2}}, "not_json"),
    ],
)
def test_what_has_no_canonical_form_is_refused(value, problem):
    with pytest.raises(CanonicalError) as caught:
        canonical(value)
    assert caught.value.problem == problem


def test_a_value_that_contains_itself_is_too_deep() -> None:
    loop: list = []
    loop.append(loop)
    with pytest.raises(CanonicalError) as caught:
        canonical(loop)
    assert caught.value.problem == "too_deep"
