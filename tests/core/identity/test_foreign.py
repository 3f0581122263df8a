"""Foreign tokens are taken apart strictly; their limits hold at the limit exactly."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.core.identity.foreign import (
    FOREIGN_BYTES_MAX,
    FOREIGN_DEPTH_MAX,
    FOREIGN_HEADER_BYTES_MAX,
    KID_CHARS_MAX,
    read_foreign,
)
from broker.core.jwk import JwsError, Problem
from broker.core.jws import check
from tests.support.identities import AGENT_KEY, b64, compact

FIELDS = frozenset({"kid", "typ"})
HEADER = {"alg": "ES256"}

values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@given(st.dictionaries(st.text(), values, max_size=6))
def test_what_was_signed_is_what_is_read_and_the_signature_holds(claims):
    token = compact(HEADER, claims, AGENT_KEY)
    foreign = read_foreign(token, fields=FIELDS)
    check(foreign.parts, key=AGENT_KEY.public())
    assert foreign.claims == claims


@given(st.text(max_size=300) | st.binary(max_size=300).map(b64))
def test_no_text_at_all_gives_another_error_than_the_one_for_tokens(text):
    with pytest.raises(JwsError):
        read_foreign(text, fields=FIELDS)


def problem_of(token):
    with pytest.raises(JwsError) as caught:
        read_foreign(token, fields=FIELDS)
    return caught.value.problem


def nested(depth):
    return json.loads("[" * depth + "]" * depth)


def test_nesting_at_the_limit_is_read_and_one_deeper_is_not():
    inside = {"a": nested(FOREIGN_DEPTH_MAX - 1)}
    assert read_foreign(compact(HEADER, inside, AGENT_KEY), fields=FIELDS).claims
    deeper = {"a": nested(FOREIGN_DEPTH_MAX)}
    assert problem_of(compact(HEADER, deeper, AGENT_KEY)) is Problem.PAYLOAD


def test_a_token_at_the_size_limit_is_read_and_a_longer_one_is_not():
    room = FOREIGN_BYTES_MAX - len(compact(HEADER, {"a": ""}, AGENT_KEY))
    fits = {"a": "x" * (room * 3 // 4)}
    token = compact(HEADER, fits, AGENT_KEY)
    assert FOREIGN_BYTES_MAX - 3 <= len(token) <= FOREIGN_BYTES_MAX
    assert read_foreign(token, fields=FIELDS).claims == fits
    longer = {"a": "x" * (room * 3 // 4 + 3)}
    assert problem_of(compact(HEADER, longer, AGENT_KEY)) is Problem.TOO_LARGE


def test_a_header_at_the_size_limit_is_read_and_a_longer_one_is_not():
    fields = FIELDS | {"jwk"}
    empty = len(json.dumps(HEADER | {"jwk": ""}))
    header = HEADER | {"jwk": "x" * (FOREIGN_HEADER_BYTES_MAX - empty)}
    assert read_foreign(compact(header, {}, AGENT_KEY), fields=fields).header == header
    header["jwk"] += "x"
    with pytest.raises(JwsError, match="too_large"):
        read_foreign(compact(header, {}, AGENT_KEY), fields=fields)


def test_a_key_id_at_the_limit_is_read_and_a_longer_one_is_not():
    header = HEADER | {"kid": "k" * KID_CHARS_MAX}
    assert read_foreign(compact(header, {}, AGENT_KEY), fields=FIELDS).parts.kid
    header["kid"] += "k"
    assert problem_of(compact(header, {}, AGENT_KEY)) is Problem.HEADER
