"""Base64 with one spelling per value."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.core.transparency.encoding import EncodingError, from_base64, to_base64


@given(st.binary(max_size=100))
def test_what_was_encoded_decodes_to_the_same_bytes(data):
    assert from_base64(to_base64(data), bytes_exact=len(data)) == data


@pytest.mark.parametrize(
    "text",
    ["QQ", "QQ=", "QR==", "QQ==\n", " QQ==", "Q-==", "QQ===", "Q\u00e4==", "====", "A"],
)
def test_any_other_spelling_is_refused(text):
    with pytest.raises(EncodingError):
        from_base64(text)


def test_a_value_of_another_length_is_refused() -> None:
    with pytest.raises(EncodingError, match="3 bytes where 4 belong"):
        from_base64(to_base64(b"abc"), bytes_exact=4)
