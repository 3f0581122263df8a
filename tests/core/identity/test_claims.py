"""Claims that every artefact shares: types, times at their limits, single use."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.core.identity.claims import (
    ASSERTION_LIFE_S_MAX,
    CLOCK_AHEAD_S_MAX,
    JTI_CHARS_MAX,
    TIME_S_MAX,
    check_audience,
    check_times,
    jti_of,
    one_use,
    text_claim,
    time_claim,
)
from broker.core.words.errors import UnauthenticatedError
from tests.support.identities import ISSUER, NOW, NOW_S

LIFE = ASSERTION_LIFE_S_MAX


def accepted(**claims):
    try:
        check_times(claims, now=NOW, life_s_max=LIFE)
    except UnauthenticatedError:
        return False
    return True


@given(
    exp=st.integers(-400, 800),
    iat=st.none() | st.integers(-400, 400),
    nbf=st.none() | st.integers(-400, 400),
)
def test_times_are_accepted_exactly_within_the_rules(exp, iat, nbf):
    claims = {"exp": NOW_S + exp}
    claims |= {} if iat is None else {"iat": NOW_S + iat}
    claims |= {} if nbf is None else {"nbf": NOW_S + nbf}
    start = CLOCK_AHEAD_S_MAX if iat is None else iat
    fits = (
        exp > 0
        and start <= CLOCK_AHEAD_S_MAX
        and exp - start <= LIFE
        and (nbf is None or nbf <= CLOCK_AHEAD_S_MAX)
    )
    assert accepted(**claims) is fits


def test_an_artefact_has_ended_at_its_expiry_exactly():
    assert accepted(exp=NOW_S + 1)
    assert not accepted(exp=NOW_S)


def test_the_clock_may_run_ahead_as_far_as_the_limit_and_no_further():
    assert accepted(exp=NOW_S + 20, iat=NOW_S + CLOCK_AHEAD_S_MAX)
    assert not accepted(exp=NOW_S + 20, iat=NOW_S + CLOCK_AHEAD_S_MAX + 1)


def test_a_life_at_the_limit_is_accepted_and_one_second_more_is_not():
    assert accepted(exp=NOW_S + LIFE, iat=NOW_S)
    assert not accepted(exp=NOW_S + LIFE + 1, iat=NOW_S)


def test_an_artefact_without_an_expiry_is_refused():
    assert not accepted(iat=NOW_S)


@pytest.mark.parametrize(
    "value", [True, 1.5, "1", None, -1, TIME_S_MAX + 1, [], {}, 10**15]
)
def test_a_time_that_is_no_whole_number_of_seconds_is_refused(value):
    with pytest.raises(UnauthenticatedError, match="whole number"):
        time_claim({"exp": value}, "exp")


def test_the_last_second_that_exists_is_read_and_an_absent_one_is_none():
    last = time_claim({"exp": TIME_S_MAX}, "exp")
    assert last is not None
    assert last.year == 9999
    assert time_claim({}, "exp") is None
    first = time_claim({"exp": 0}, "exp")
    assert first is not None
    assert first.year == 1970


@given(st.one_of(st.none(), st.integers(), st.lists(st.just(ISSUER)), st.text()))
def test_only_the_issuer_itself_is_an_audience(audience):
    with pytest.raises(UnauthenticatedError, match="aud"):
        check_audience({"aud": audience}, ISSUER)
    check_audience({"aud": ISSUER}, ISSUER)


def test_an_absent_audience_is_refused():
    with pytest.raises(UnauthenticatedError, match="aud"):
        check_audience({}, ISSUER)


def test_an_id_at_the_limit_is_read_and_a_longer_or_empty_one_refused():
    assert jti_of({"jti": "j" * JTI_CHARS_MAX}) == "j" * JTI_CHARS_MAX
    for jti in ("", "j" * (JTI_CHARS_MAX + 1), None, 7, ["j"]):
        with pytest.raises(UnauthenticatedError, match="jti"):
            jti_of({"jti": jti})
    with pytest.raises(UnauthenticatedError, match="jti"):
        jti_of({})


def test_an_empty_text_is_accepted_only_where_it_may_be_empty():
    assert text_claim({"a": ""}, "a", chars_max=3, empty=True) == ""
    with pytest.raises(UnauthenticatedError):
        text_claim({"a": ""}, "a", chars_max=3)


kinds = st.sampled_from(["client", "dpop", "turn"])
keys = st.sampled_from(["k" * 43, "q" * 43])
uses = st.tuples(kinds, keys, st.text(min_size=1))


@given(uses, uses)
def test_two_uses_share_a_name_only_if_kind_key_and_id_are_the_same(one, other):
    first, second = (
        one_use(kind, key=key, jti=jti, until=NOW) for kind, key, jti in (one, other)
    )
    assert (first.name == second.name) is (one == other)
    assert len(first.name) == 32


def test_a_use_is_remembered_longer_than_its_artefact_can_be_shown():
    assert one_use("dpop", key="k", jti="j", until=NOW).until == NOW + timedelta(
        seconds=CLOCK_AHEAD_S_MAX + 1
    )
