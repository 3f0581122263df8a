"""DPoP proofs hold for one request, one token, one key and one moment."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.core.identity.claims import CLOCK_AHEAD_S_MAX, JTI_CHARS_MAX
from broker.core.identity.dpop import (
    NONCE_CHARS_MAX,
    NONCE_SETTLE_S,
    NONCE_SLOT_S,
    PROOF_AGE_S_MAX,
    NonceRule,
    check_nonce,
    make_nonce,
    token_hash,
    verify_dpop,
)
from broker.core.jwk import Algorithm, public_to_jwk
from broker.core.words.errors import NonceNeededError, ProofError
from tests.support.identities import (
    INSTANCE_KEY,
    ISSUER,
    NOW,
    key_of,
    proof,
    signed_token,
    target,
)

TOKEN = signed_token()
SECRET = b"s" * 32
LONG_AGO = NOW - timedelta(days=1)


def verify(text, *, token=None, now=NOW, at=None):
    return verify_dpop(text, target=at or target(), now=now, token=token)


def test_a_proof_shows_the_thumbprint_of_its_key():
    for key in (INSTANCE_KEY, key_of("ed", Algorithm.EDDSA)):
        assert verify(proof(key=key)).jkt == key.kid


@given(age=st.integers(-200, 200))
def test_a_proof_is_good_within_its_window_and_at_no_other_moment(age):
    text = proof(now=NOW - timedelta(seconds=age))
    if -CLOCK_AHEAD_S_MAX <= age <= PROOF_AGE_S_MAX:
        shown = verify(text)
        assert shown.one_use.until > NOW
    else:
        with pytest.raises(ProofError):
            verify(text)


@given(age=st.integers(-CLOCK_AHEAD_S_MAX, PROOF_AGE_S_MAX))
def test_a_use_is_remembered_until_no_replica_accepts_the_proof_any_more(age):
    issued = NOW - timedelta(seconds=age)
    shown = verify(proof(now=issued))
    last = issued + timedelta(seconds=PROOF_AGE_S_MAX)
    assert shown.one_use.until > last + timedelta(seconds=CLOCK_AHEAD_S_MAX)


def test_a_proof_for_one_token_is_not_good_for_another():
    other = signed_token(jti="token-2")
    assert verify(proof(token=TOKEN), token=TOKEN)
    with pytest.raises(ProofError, match="ath"):
        verify(proof(token=TOKEN), token=other)
    with pytest.raises(ProofError, match="ath"):
        verify(proof(), token=TOKEN)


def test_what_a_key_says_beside_its_members_does_not_change_its_name():
    jwk = public_to_jwk(INSTANCE_KEY.public()) | {"kid": "mine", "key_ops": ["verify"]}
    assert verify(proof(header={"jwk": jwk})).jkt == INSTANCE_KEY.kid


def test_an_id_at_the_limit_is_accepted_and_a_longer_one_is_not():
    assert verify(proof(jti="j" * JTI_CHARS_MAX))
    with pytest.raises(ProofError, match="jti"):
        verify(proof(jti="j" * (JTI_CHARS_MAX + 1)))


def test_a_nonce_at_the_length_limit_is_read_and_a_longer_one_is_not():
    assert verify(proof(nonce="n" * NONCE_CHARS_MAX)).nonce
    with pytest.raises(ProofError, match="nonce"):
        verify(proof(nonce="n" * (NONCE_CHARS_MAX + 1)))
    assert len(make_nonce(SECRET, epoch=2**62, now=NOW)) <= NONCE_CHARS_MAX


def test_the_same_id_under_another_key_is_another_use():
    mine = verify(proof()).one_use
    theirs = verify(proof(key=key_of("other"))).one_use
    assert mine.name != theirs.name


def test_a_replayed_proof_is_the_same_use_whatever_is_added_to_its_address():
    one = verify(proof(htu=f"{ISSUER}/v1/tools")).one_use
    two = verify(proof(htu=f"{ISSUER}/v1/tools?again=1")).one_use
    assert one == two


def nonce_accepted(nonce, rule, *, now=NOW):
    shown = verify(proof(nonce=nonce) if nonce else proof())
    try:
        check_nonce(shown, rule=rule, secret=SECRET, now=now)
    except NonceNeededError:
        return False
    return True


@given(
    epochs=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    age=st.integers(-300, 300),
)
def test_a_nonce_is_good_in_its_own_epoch_and_until_the_end_of_the_next_slot(
    epochs, age
):
    made, current = epochs
    nonce = make_nonce(SECRET, epoch=made, now=NOW - timedelta(seconds=age))
    slots = int(NOW.timestamp()) // NONCE_SLOT_S - (
        (int(NOW.timestamp()) - age) // NONCE_SLOT_S
    )
    good = made == current and slots in {0, 1}
    assert nonce_accepted(nonce, NonceRule(current, LONG_AGO)) is good


def test_a_nonce_of_another_server_is_refused_even_where_none_is_demanded():
    foreign = make_nonce(b"t" * 32, epoch=1, now=NOW)
    assert not nonce_accepted(foreign, NonceRule(1, LONG_AGO))
    assert not nonce_accepted("\u00e4", NonceRule(1, LONG_AGO))


@given(age=st.integers(0, 200), required=st.booleans())
def test_no_nonce_is_needed_unless_memory_was_lost_lately_or_is_degraded(age, required):
    rule = NonceRule(3, NOW - timedelta(seconds=age), required)
    assert nonce_accepted("", rule) is (not required and age >= NONCE_SETTLE_S)


def test_nonces_are_demanded_until_the_last_second_of_settling():
    last = NOW - timedelta(seconds=NONCE_SETTLE_S - 1)
    assert NonceRule(1, last).demands(NOW)
    assert not NonceRule(1, NOW - timedelta(seconds=NONCE_SETTLE_S)).demands(NOW)
    assert NonceRule(1, LONG_AGO, required=True).demands(NOW)


def test_an_artefact_of_another_type_is_no_proof():
    for typ in ("JWT", "at+jwt", "DPoP+jwt", "", ...):
        with pytest.raises(ProofError, match="typ"):
            verify(proof(header={"typ": typ}))


def test_the_window_holds_at_its_edges():
    for age in (PROOF_AGE_S_MAX, -CLOCK_AHEAD_S_MAX):
        assert verify(proof(now=NOW - timedelta(seconds=age)))
    for age in (PROOF_AGE_S_MAX + 1, -CLOCK_AHEAD_S_MAX - 1):
        with pytest.raises(ProofError):
            verify(proof(now=NOW - timedelta(seconds=age)))


def test_a_refused_proof_is_told_a_nonce_that_is_then_accepted():
    rule = NonceRule(4, NOW, required=True)
    with pytest.raises(NonceNeededError) as caught:
        check_nonce(verify(proof()), rule=rule, secret=SECRET, now=NOW)
    assert nonce_accepted(caught.value.nonce, rule)


def test_proofs_of_before_a_loss_have_ended_when_nonces_are_no_longer_demanded():
    assert NONCE_SETTLE_S >= PROOF_AGE_S_MAX + CLOCK_AHEAD_S_MAX


def test_the_token_hash_is_the_one_of_the_standard():
    # RFC 9449, section 7.1.
    token = "Kz~8mXK1EalYznwH-LC-1fBAo.4Ljp~zsPE_NeO.gxU"
    assert token_hash(token) == "fUHyO2r2Z3DZ53EsNrWBb0xWXoaNy59IiKCAqksmQEo"
