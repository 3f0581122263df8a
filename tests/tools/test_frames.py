"""Frames: what is written is read back, and what is not strict is refused."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.core.frames import decode_body
from tools import frames, limits
from tools.frames import INTEGER_MAX, FrameError

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-INTEGER_MAX, INTEGER_MAX) | TEXT,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4)
    ),
    max_leaves=20,
)
MESSAGES = st.dictionaries(TEXT, VALUES, max_size=5)


@given(MESSAGES)
def test_what_is_framed_is_read_back(message):
    data = frames.encode(message, bytes_max=limits.REPLY_BYTES_MAX)
    body = data[frames.HEADER_BYTES :]
    header = data[: frames.HEADER_BYTES]
    assert frames.size(header, bytes_max=limits.REPLY_BYTES_MAX) == len(body)
    assert frames.decode(body, depth_max=limits.FRAME_DEPTH_MAX) == message


@given(MESSAGES)
def test_the_broker_reads_every_frame_that_the_runner_writes(message):
    data = frames.encode(message, bytes_max=limits.REPLY_BYTES_MAX)
    assert decode_body(data[4:], frame_max=limits.REPLY_BYTES_MAX) == message


@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_refused_and_never_crash(data):
    try:
        frames.decode(data, depth_max=8)
    except FrameError as error:
        assert error.problem  # noqa: PT017 both outcomes are right


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (b'{"a": 1, "a": 2}', "ambiguous"),
        (b'{"a": {"b": 1, "b": 1}}', "ambiguous"),
        (b'{"a": NaN}', "ambiguous"),
        (b'{"a": Infinity}', "ambiguous"),
        (b'{"a": 1e999}', "ambiguous"),
        (b'{"a": 1.0}', "ambiguous"),
        (b'{"a": 9007199254740992}', "ambiguous"),
        (b'{"a": ' + b"9" * 5_000 + b"}", "ambiguous"),
        (b'{"a": "\\ud800"}', "ambiguous"),
        (b'{"\\udfff": 1}', "ambiguous"),
        (b'{"a": "\xff"}', "not_utf8"),
        (b'\xef\xbb\xbf{"a": 1}', "not_json"),
        (b'{"a": 1} {"a": 2}', "not_json"),
        (b'{"a": 1', "not_json"),
        (b"", "not_json"),
        (b"[1]", "shape"),
        (b'"text"', "shape"),
    ],
)
def test_a_document_with_more_than_one_meaning_is_refused(body, problem):
    with pytest.raises(FrameError) as refused:
        frames.decode(body, depth_max=8)
    assert refused.value.problem == problem


def test_nesting_is_taken_at_the_limit_and_refused_one_past_it():
    deepest = b'{"a":' + b"[" * 31 + b"]" * 31 + b"}"
    assert frames.decode(deepest, depth_max=limits.RESULT_DEPTH_MAX)
    too_deep = b'{"a":' + b"[" * 32 + b"]" * 32 + b"}"
    with pytest.raises(FrameError) as refused:
        frames.decode(too_deep, depth_max=limits.RESULT_DEPTH_MAX)
    assert refused.value.problem == "too_deep"


def test_brackets_inside_text_do_not_count_as_nesting():
    message = {"a": "[{" * 100, "b": '\\"[' * 100}
    assert frames.decode(json.dumps(message).encode(), depth_max=1) == message


def test_a_frame_is_taken_at_its_longest_and_refused_one_byte_past_it():
    longest = {"a": "x" * (100 - len('{"a":""}'))}
    assert len(frames.encode(longest, bytes_max=100)) == 104
    with pytest.raises(FrameError) as refused:
        frames.encode({"a": longest["a"] + "x"}, bytes_max=100)
    assert refused.value.problem == "too_big"
    assert frames.size((100).to_bytes(4, "big"), bytes_max=100) == 100
    for size in (0, 101):
        with pytest.raises(FrameError):
            frames.size(size.to_bytes(4, "big"), bytes_max=100)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), object(), {1, 2}, b"x"])
def test_what_json_cannot_carry_is_not_written(value):
    with pytest.raises(FrameError):
        frames.encode({"a": value}, bytes_max=1_000)


def test_a_message_that_nests_without_end_is_not_written():
    endless: dict[str, object] = {}
    endless["a"] = endless
    with pytest.raises(FrameError):
        frames.encode(endless, bytes_max=1_000)


def test_a_lone_surrogate_is_not_written():
    with pytest.raises(FrameError):
        frames.encode({"a": "\ud800"}, bytes_max=1_000)


def test_fractions_are_read_only_where_asked_for():
    assert frames.loads(b'{"a": 1.5}', depth_max=1, floats=True) == {"a": 1.5}
    with pytest.raises(FrameError):
        frames.loads(b'{"a": 1e400}', depth_max=1, floats=True)
