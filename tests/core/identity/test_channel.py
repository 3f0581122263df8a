"""Channel assertions: what a channel may say, and the limits of saying it."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.core.canonical import canonical
from broker.core.identity.channel import (
    CUSTOMER_CHARS_MAX,
    CUSTOMER_FLAGS_MAX,
    EVIDENCE_BYTES_MAX,
    SPEAKERS,
    TOPICS_MAX,
    TURN_AGE_S_MAX,
    TURN_CHARS_MAX,
    WORD_CHARS_MAX,
    claimed_channel,
    verify_ending,
    verify_interaction_assertion,
    verify_turn,
)
from broker.core.identity.claims import CLOCK_AHEAD_S_MAX
from broker.core.words.errors import (
    BrokerError,
    ForbiddenError,
    InvalidError,
    UnauthenticatedError,
)
from broker.core.words.identity import ASKING_TYP, ENDING_TYP, TURN_TYP
from broker.core.words.moment import write_moment
from broker.core.words.subject import VerificationLevel
from tests.support.channels import CHANNEL, ending, opening, turn
from tests.support.identities import (
    AGENT_ID,
    CHANNEL_ID,
    CHANNEL_KEY,
    INTERACTION_ID,
    ISSUER,
    NOW,
    NOW_S,
    key_of,
)


def opened(now=NOW, **claims):
    return verify_interaction_assertion(
        opening(**claims), channel=CHANNEL, issuer=ISSUER, now=now
    )


def said(now=NOW, **claims):
    return verify_turn(
        turn(**claims),
        interaction_id=INTERACTION_ID,
        channel=CHANNEL,
        issuer=ISSUER,
        now=now,
    )


def test_what_a_channel_signed_is_what_was_opened():
    word = opened(
        topics=["refund"], customer_flags=["vulnerable"], evidence={"method": "login"}
    )
    assert word.channel_id == CHANNEL_ID
    assert word.kid == CHANNEL_KEY.kid
    assert word.agent_id == AGENT_ID
    assert word.verification is VerificationLevel.MATCHED
    assert word.topics == ("refund",)
    assert word.customer_flags == ("vulnerable",)
    assert opened().customer_flags == ()
    assert word.evidence == {"method": "login"}
    assert word.issued_at == NOW
    earlier = NOW - timedelta(seconds=30)
    assert opened(iat=int(earlier.timestamp())).issued_at == earlier
    assert opened(iat=...).issued_at == NOW


def test_who_opens_is_read_before_anything_is_verified():
    assert claimed_channel(opening()) == CHANNEL_ID
    for text in ("", "a.b.c", opening(iss="webchat"), opening(iss=5)):
        with pytest.raises(BrokerError):
            claimed_channel(text)


@given(level=st.integers(-2, 6))
def test_a_channel_vouches_for_no_level_above_its_own(level):
    if 0 <= level <= CHANNEL.verification_max:
        assert opened(verification_level=level).verification == level
    else:
        with pytest.raises((ForbiddenError, InvalidError)):
            opened(verification_level=level)


def test_a_level_without_a_customer_is_refused_and_no_level_needs_none():
    assert opened(verification_level=0, customer="").customer == ""
    with pytest.raises(InvalidError, match="customer"):
        opened(verification_level=1, customer="")


def test_texts_at_their_limits_are_read_and_longer_ones_are_not():
    assert opened(locale="l" * WORD_CHARS_MAX)
    assert opened(customer="c" * CUSTOMER_CHARS_MAX)
    assert opened(topics=["t" * WORD_CHARS_MAX] * TOPICS_MAX)
    assert opened(customer_flags=["f" * WORD_CHARS_MAX] * CUSTOMER_FLAGS_MAX)
    for claims in (
        {"locale": "l" * (WORD_CHARS_MAX + 1)},
        {"customer": "c" * (CUSTOMER_CHARS_MAX + 1)},
        {"topics": ["t"] * (TOPICS_MAX + 1)},
        {"topics": ["t" * (WORD_CHARS_MAX + 1)]},
        {"customer_flags": ["f"] * (CUSTOMER_FLAGS_MAX + 1)},
        {"customer_flags": ["f" * (WORD_CHARS_MAX + 1)]},
    ):
        with pytest.raises(InvalidError) as caught:
            opened(**claims)
        assert caught.value.pointer == f"/{next(iter(claims))}"


def test_evidence_at_its_limit_is_kept_and_more_is_refused():
    empty = len(canonical({"a": ""}))
    assert opened(evidence={"a": "x" * (EVIDENCE_BYTES_MAX - empty)})
    with pytest.raises(InvalidError, match="evidence"):
        opened(evidence={"a": "x" * (EVIDENCE_BYTES_MAX - empty + 1)})


@pytest.mark.parametrize(
    "claims",
    [
        {"agent": "care-agent"},
        {"agent": ...},
        {"use_case": ...},
        {"verification_level": True},
        {"verification_level": "2"},
        {"verification_level": ...},
        {"channel": ""},
        {"topics": "refund"},
        {"topics": [""]},
        {"topics": [5]},
        {"customer_flags": "vulnerable"},
        {"customer": None},
        {"locale": 5},
        {"evidence": []},
        {"ai_disclosed_at": 5},
        {"ai_disclosed_at": "today"},
        {"ai_disclosed_at": write_moment(NOW + timedelta(seconds=60))},
        {"admin": True},
        {"nbf": 0},
    ],
)
def test_a_claim_that_is_missing_unknown_or_of_another_type_is_named(claims):
    with pytest.raises(InvalidError) as caught:
        opened(**claims)
    assert caught.value.pointer == f"/{next(iter(claims))}"


def test_a_disclosure_is_a_moment_or_none():
    assert opened(ai_disclosed_at=write_moment(NOW)).ai_disclosed_at == NOW
    ahead = NOW + timedelta(seconds=CLOCK_AHEAD_S_MAX)
    assert opened(ai_disclosed_at=write_moment(ahead)).ai_disclosed_at == ahead
    assert opened(ai_disclosed_at="").ai_disclosed_at is None
    assert opened(ai_disclosed_at=None).ai_disclosed_at is None
    assert opened(ai_disclosed_at=...).ai_disclosed_at is None


def test_a_turn_says_who_spoke_and_what():
    for speaker in SPEAKERS:
        word = said(speaker=speaker, text="It arrived broken.")
        assert (word.speaker, word.text) == (speaker, "It arrived broken.")
    with pytest.raises(InvalidError, match="speaker"):
        said(speaker="system")


def test_a_turn_at_the_length_limit_is_read_and_a_longer_one_is_not():
    assert said(text="x" * TURN_CHARS_MAX)
    for text in ("x" * (TURN_CHARS_MAX + 1), ""):
        with pytest.raises(InvalidError):
            said(text=text)


@given(age=st.integers(-30, 30) | st.integers(TURN_AGE_S_MAX - 5, TURN_AGE_S_MAX + 5))
def test_a_turn_is_reported_within_its_age_and_not_ahead_of_time(age):
    at = write_moment(NOW - timedelta(seconds=age))
    if -CLOCK_AHEAD_S_MAX <= age <= TURN_AGE_S_MAX:
        assert said(at=at).at <= NOW + timedelta(seconds=CLOCK_AHEAD_S_MAX)
    else:
        with pytest.raises(InvalidError, match="turn"):
            said(at=at)


def ends(token):
    return verify_ending(
        token, interaction_id=INTERACTION_ID, channel=CHANNEL, issuer=ISSUER, now=NOW
    )


def test_a_channel_ends_its_own_interaction_and_names_it():
    assert ends(ending()).name != said(jti="ending-1").one_use.name
    with pytest.raises(ForbiddenError, match="another interaction"):
        ends(ending(interaction=CHANNEL_ID))


@pytest.mark.parametrize(
    ("claims", "error"),
    [
        ({"typ": TURN_TYP}, UnauthenticatedError),
        ({"typ": ASKING_TYP}, UnauthenticatedError),
        ({"key": key_of("forger")}, UnauthenticatedError),
        ({"aud": "https://elsewhere"}, UnauthenticatedError),
        ({"exp": NOW_S - 60}, UnauthenticatedError),
        ({"jti": ...}, UnauthenticatedError),
        ({"why": "bored"}, InvalidError),
    ],
    ids=str,
)
def test_an_ending_that_is_none_ends_nothing(claims, error):
    with pytest.raises(error):
        ends(ending(**claims))


def test_an_ending_is_taken_for_nothing_else():
    with pytest.raises(UnauthenticatedError):
        said(typ=ENDING_TYP)
    with pytest.raises(UnauthenticatedError):
        opened(typ=ENDING_TYP)


def test_an_opening_and_a_turn_with_the_same_id_are_two_uses():
    assert opened(jti="same").one_use.name != said(jti="same").one_use.name
