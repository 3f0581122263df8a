"""Registered keys authenticate within their validity and at no other moment."""

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from broker.core.words.identity import RegisteredKey
from tests.support.identities import AGENT_KEY, NOW, access_token

offsets = st.integers(min_value=-1000, max_value=1000)


@given(start=st.none() | offsets, end=st.none() | offsets, at=offsets)
def test_a_key_is_valid_from_its_beginning_until_just_before_its_end(start, end, at):
    def moment(offset):
        return None if offset is None else NOW + timedelta(seconds=offset)

    slot = RegisteredKey(AGENT_KEY.public(), moment(start), moment(end))
    inside = (start is None or start <= at) and (end is None or at < end)
    assert slot.valid_at(NOW + timedelta(seconds=at)) is inside


def test_a_token_names_its_subject_with_the_kind():
    token = access_token()
    assert token.subject == f"agent:{token.subject_id}"
