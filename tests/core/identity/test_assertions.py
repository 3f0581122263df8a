"""Client assertions: one client, one audience, one key in its slots, one moment."""

from datetime import timedelta
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.core.identity.assertions import (
    KEY_SLOTS_MAX,
    SUBJECT_CHARS_MAX,
    assertion_claims,
    claimed_client,
    parse_client_id,
    verify_client_assertion,
)
from broker.core.identity.claims import ASSERTION_LIFE_S_MAX
from broker.core.jwk import Algorithm
from broker.core.words.errors import UnauthenticatedError
from broker.core.words.identity import RegisteredKey
from broker.core.words.subject import SubjectKind
from tests.support.identities import (
    AGENT,
    AGENT_ID,
    AGENT_KEY,
    ISSUER,
    NOW,
    assertion,
    key_of,
)
from tests.support.identity.costs import signatures_checked

CLIENT = parse_client_id(AGENT)
NEXT_KEY = key_of("agent-next", Algorithm.EDDSA)
SLOTS = (RegisteredKey(AGENT_KEY.public()), RegisteredKey(NEXT_KEY.public()))


def verify(token, *, keys=SLOTS, now=NOW, client=CLIENT):
    return verify_client_assertion(
        token, client=client, keys=keys, issuer=ISSUER, now=now
    )


def test_both_slots_of_a_client_authenticate_and_say_which_one_did():
    assert len(SLOTS) == KEY_SLOTS_MAX
    for key in (AGENT_KEY, NEXT_KEY):
        assert verify(assertion(key=key)).kid == key.kid


@pytest.mark.parametrize("kid", [..., "of a stranger", AGENT_KEY.kid, NEXT_KEY.kid])
@pytest.mark.parametrize("algorithm", Algorithm)
def test_a_refusal_takes_the_same_work_whoever_is_named_and_whatever_keys_they_have(
    algorithm, kid
):
    """Strangers, one key, another sort of key, two keys, a key that has ended."""
    ended = RegisteredKey(AGENT_KEY.public(), not_after=NOW)
    forged = assertion(key=key_of("thief", algorithm), header={"kid": kid})
    slots = [(), SLOTS[:1], SLOTS[1:], SLOTS, SLOTS[::-1], (ended,), (ended, SLOTS[1])]

    def refused(keys):
        with pytest.raises(UnauthenticatedError, match="could not be authenticated"):
            verify(forged, keys=keys)

    work = {signatures_checked(partial(refused, keys)) for keys in slots}
    assert work == {KEY_SLOTS_MAX if kid is ... else 1}


@pytest.mark.parametrize(
    "header", [{"kid": ...}, {"typ": "JWT"}, {"typ": "client-authentication+jwt"}]
)
def test_the_headers_that_client_libraries_send_are_accepted(header):
    assert verify(assertion(header=header)).subject == AGENT


def test_an_ed25519_key_may_call_its_algorithm_by_either_name():
    for name in ("EdDSA", "Ed25519"):
        assert verify(assertion(key=NEXT_KEY, header={"alg": name})).kid == NEXT_KEY.kid


def test_an_assertion_of_a_client_without_slots_is_refused_like_a_forged_one():
    forged = assertion(key=key_of("stranger"))
    for keys in ((), SLOTS):
        with pytest.raises(UnauthenticatedError) as caught:
            verify(forged, keys=keys)
        assert caught.value.detail == "the client could not be authenticated"


@given(offset=st.integers(-100, 400))
def test_a_key_authenticates_only_within_its_slots_validity(offset):
    slot = RegisteredKey(
        AGENT_KEY.public(), NOW, NOW + timedelta(seconds=ASSERTION_LIFE_S_MAX)
    )
    now = NOW + timedelta(seconds=offset)
    token = assertion(now=now)
    if 0 <= offset < ASSERTION_LIFE_S_MAX:
        assert verify(token, keys=(slot,), now=now)
    else:
        with pytest.raises(UnauthenticatedError):
            verify(token, keys=(slot,), now=now)


def test_what_is_claimed_is_read_before_anything_is_verified():
    forged = assertion(key=key_of("stranger"))
    assert claimed_client(forged) == CLIENT
    with pytest.raises(UnauthenticatedError):
        claimed_client(assertion(sub=7))


def test_the_name_of_the_use_is_bound_to_key_and_id():
    uses = {
        verify(assertion(key=key, jti=jti)).one_use.name
        for key in (AGENT_KEY, NEXT_KEY)
        for jti in ("one", "two")
    }
    assert len(uses) == 4


@pytest.mark.parametrize("kind", ["agent", "person", "service"])
def test_a_client_id_reads_back_as_it_is_written(kind):
    client = parse_client_id(f"{kind}:{AGENT_ID}")
    assert client.kind is SubjectKind(kind)
    assert str(client) == f"{kind}:{AGENT_ID}"


@pytest.mark.parametrize(
    "text",
    [
        "",
        AGENT_ID,
        f"channel:{AGENT_ID}",
        f"Agent:{AGENT_ID}",
        f"agent:{AGENT_ID.upper()}",
        f"agent:{AGENT_ID}\n",
        f"agent: {AGENT_ID}",
        "agent:../../../etc/passwd",
        "agent:' OR 1=1 --",
        "agent:" + "a" * SUBJECT_CHARS_MAX,
    ],
)
def test_another_client_id_is_refused(text):
    with pytest.raises(UnauthenticatedError):
        parse_client_id(text)


def test_no_client_id_longer_than_the_limit_exists():
    assert len(f"service:{AGENT_ID}") <= SUBJECT_CHARS_MAX


def test_a_client_never_makes_an_assertion_that_lives_too_long():
    claims = assertion_claims(AGENT, issuer=ISSUER, jti="j", now=NOW, life_s=86_400)
    assert int(claims["exp"]) - int(claims["iat"]) == ASSERTION_LIFE_S_MAX
