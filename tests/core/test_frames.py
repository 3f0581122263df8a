"""Frames: a length, then one strict JSON object."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.core.canonical import CanonicalError
from broker.core.frames import (
    FRAME_DEPTH_MAX,
    HEADER_BYTES,
    FrameError,
    body_bytes,
    decode_body,
    encode_frame,
)

FRAME_MAX = 4096
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
messages = st.dictionaries(texts, texts | st.integers(-(2**53) + 1, 2**53 - 1))


@given(st.lists(messages, max_size=5))
def test_frames_behind_each_other_read_back_as_the_messages_sent(sent):
    stream = b"".join(encode_frame(each, frame_max=FRAME_MAX * 10) for each in sent)
    got = []
    while stream:
        size = body_bytes(stream[:HEADER_BYTES], frame_max=FRAME_MAX * 10)
        body, stream = (
            stream[HEADER_BYTES : HEADER_BYTES + size],
            stream[HEADER_BYTES + size :],
        )
        got.append(decode_body(body, frame_max=FRAME_MAX * 10))
    assert got == sent


def test_a_frame_at_the_limit_passes_and_one_byte_more_does_not() -> None:
    fits = {"a": "x" * (FRAME_MAX - len('{"a":""}'))}
    frame = encode_frame(fits, frame_max=FRAME_MAX)
    assert len(frame) == HEADER_BYTES + FRAME_MAX
    assert body_bytes(frame[:HEADER_BYTES], frame_max=FRAME_MAX) == FRAME_MAX
    with pytest.raises(FrameError, match="over the 4096"):
        encode_frame({"a": fits["a"] + "x"}, frame_max=FRAME_MAX)
    with pytest.raises(FrameError, match="4097 bytes"):
        body_bytes((FRAME_MAX + 1).to_bytes(4, "big"), frame_max=FRAME_MAX)


@pytest.mark.parametrize(
    "header", [b"", b"\0\0\0", b"\0\0\0\1\0", b"\0\0\0\0", b"\xff\xff\xff\xff"]
)
def test_a_header_that_announces_nothing_or_too_much_is_refused(header):
    with pytest.raises(FrameError):
        body_bytes(header, frame_max=FRAME_MAX)


@pytest.mark.parametrize("body", [b"[]", b'"op"', b"1", b"null"])
def test_a_frame_that_holds_no_object_is_refused(body):
    with pytest.raises(FrameError, match="object"):
        decode_body(body, frame_max=FRAME_MAX)


@pytest.mark.parametrize("body", [b"", b"{", b'{"a":1,"a":1}', b'{"a":1.5}', b"\xff"])
def test_a_body_that_is_not_strict_json_is_refused(body):
    with pytest.raises(CanonicalError):
        decode_body(body, frame_max=FRAME_MAX)


def test_a_body_longer_than_it_may_be_is_refused_even_if_its_header_lied() -> None:
    with pytest.raises(CanonicalError, match="more than the 8"):
        decode_body(b'{"a":"xx"}', frame_max=8)


def test_nesting_in_a_frame_is_limited() -> None:
    def nested(depth: int) -> bytes:
        value: object = 0
        for _ in range(depth - 1):
            value = [value]
        return json.dumps({"a": value}).encode()

    assert decode_body(nested(FRAME_DEPTH_MAX), frame_max=FRAME_MAX)
    with pytest.raises(CanonicalError, match="deep"):
        decode_body(nested(FRAME_DEPTH_MAX + 1), frame_max=FRAME_MAX)


def test_fractions_pass_only_where_they_were_asked_for() -> None:
    assert decode_body(b'{"a":1.5}', frame_max=FRAME_MAX, floats=True) == {"a": 1.5}
