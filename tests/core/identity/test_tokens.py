"""Access tokens say what was granted, read back exactly, and end."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.core.identity.chain import ACTORS_MAX
from broker.core.identity.claims import CLOCK_AHEAD_S_MAX
from broker.core.identity.tokens import (
    ACCESS_TOKEN_TTL_S_MAX,
    EPOCHS_MAX,
    TOKEN_BYTES_MAX,
    access_token_claims,
    instance_id,
    key_scope,
    revocation_scopes,
    verify_access_token,
)
from broker.core.words.errors import UnauthenticatedError
from broker.core.words.subject import Epochs, Grant, SubjectKind
from tests.support.identities import (
    AGENT,
    AGENT_ID,
    AGENT_KEY,
    API,
    INTERACTION_ID,
    ISSUER,
    NOW,
    TOKEN_KEY,
    access_token,
    key_of,
    signed_token,
    trust,
)


def verify(text, *, now=NOW, of=None):
    return verify_access_token(text, trust=of or trust(), now=now)


words = st.text(alphabet="abc:-123", min_size=1, max_size=20)
tokens = st.builds(
    access_token,
    kind=st.sampled_from([SubjectKind.AGENT, SubjectKind.PERSON, SubjectKind.SERVICE]),
    token_id=words,
    grant_id=words,
    jkt=st.sampled_from(["", AGENT_KEY.kid]),
    policy=st.integers(0, 1000),
    customer_ref=st.sampled_from(["", "ref-1"]),
    epochs=st.dictionaries(
        words, st.integers(0, 100), min_size=1, max_size=EPOCHS_MAX
    ).map(lambda epochs: Epochs(tuple(sorted(epochs.items())))),
    grant=st.sampled_from(
        [
            Grant(),
            Grant(interaction_id=INTERACTION_ID),
            Grant(frozenset({"orders.get"}), 500, "USD", INTERACTION_ID, 2, 7, "r-1"),
        ]
    ),
    may_act=st.sampled_from(["", AGENT]),
    counts=st.dictionaries(words, st.integers(1, 9), max_size=ACTORS_MAX + 1).map(
        lambda counts: tuple(sorted(counts.items()))
    ),
)
PARENT = "agent:0197a000-0000-7000-8000-00000000c001"
others = [f"agent:0197a000-0000-7000-8000-00000000b00{n}" for n in range(4)]
principals = st.sampled_from([PARENT, f"person:{AGENT_ID}", "customer:r-7"])
above = st.lists(st.sampled_from(others), max_size=ACTORS_MAX - 1, unique=True)


@given(tokens)
def test_a_signed_token_reads_back_as_it_was_issued(token):
    read = verify(signed_token(token))
    # What its key may bring about stands beside what it was issued under.
    own = (key_scope(TOKEN_KEY.kid), 0)
    assert own in read.epochs.scopes
    left = tuple(scope for scope in read.epochs.scopes if scope != own)
    assert replace(read, epochs=Epochs(left)) == token


def test_a_token_cannot_say_that_its_key_was_compromised_long_ago():
    scope = key_scope(TOKEN_KEY.kid)
    forged = access_token(epochs=Epochs(((scope, 7),)))
    read = verify(signed_token(forged))
    assert read.epochs.current_under({})
    assert not read.epochs.current_under({scope: 1})


@given(token=tokens, principal=principals, above=above)
def test_a_delegated_token_reads_back_with_its_chain(token, principal, above):
    chained = replace(
        token,
        kind=SubjectKind.AGENT,
        principal=principal,
        actors=(AGENT, *above),
        delegation_id="link-1",
        lent_with=("k",),
    )
    read = verify(signed_token(chained))
    own = (key_scope(TOKEN_KEY.kid), 0)
    left = tuple(one for one in read.epochs.scopes if one != own)
    assert replace(read, epochs=Epochs(left)) == chained


@given(offset=st.integers(-400, 400))
def test_a_token_is_good_from_its_issue_until_just_before_its_end(offset):
    text = signed_token()
    now = NOW + timedelta(seconds=offset)
    if -CLOCK_AHEAD_S_MAX <= offset < ACCESS_TOKEN_TTL_S_MAX:
        assert verify(text, now=now)
    else:
        with pytest.raises(UnauthenticatedError):
            verify(text, now=now)


def test_a_token_has_ended_at_its_end_and_begins_within_the_tolerated_clock():
    text = signed_token()
    assert verify(text, now=NOW + timedelta(seconds=ACCESS_TOKEN_TTL_S_MAX - 1))
    assert verify(text, now=NOW - timedelta(seconds=CLOCK_AHEAD_S_MAX))
    for now in (
        NOW + timedelta(seconds=ACCESS_TOKEN_TTL_S_MAX),
        NOW - timedelta(seconds=CLOCK_AHEAD_S_MAX + 1),
    ):
        with pytest.raises(UnauthenticatedError):
            verify(text, now=now)


def test_a_token_that_lives_a_second_too_long_is_refused_whoever_signed_it():
    end = NOW + timedelta(seconds=ACCESS_TOKEN_TTL_S_MAX + 1)
    with pytest.raises(UnauthenticatedError, match="too long"):
        verify(signed_token(access_token(expires_at=end)))


@pytest.mark.parametrize(
    "claims",
    [
        {"iss": "http://127.0.0.1:8401"},
        {"iss": ...},
        {"aud": f"{ISSUER}/console"},
        {"aud": [API]},
        {"aud": f"{API}/"},
        {"aud": ...},
        {"tenant": "other"},
        {"env": "prod"},
        {"env": ...},
        {"sub": "channel:0197a000-0000-7000-8000-0000000000c1"},
        {"sub": "agent:x"},
        {"sub": ...},
        {"client_id": "agent:0197a000-0000-7000-8000-00000000a002"},
        {"exp": ...},
        {"exp": True},
        {"iat": ...},
        {"jti": ...},
        {"gid": ""},
        {"ins": 5},
        {"ckid": ...},
        {"pol": "1"},
        {"pol": ...},
        {"cnf": {}},
        {"cnf": {"jkt": ""}},
        {"cnf": {"jkt": "k", "x5t#S256": "y"}},
        {"cnf": {"jwk": {}}},
        {"cnf": None},
        {"epochs": ...},
        {"epochs": {}},
        {"epochs": {"global:dev": "0"}},
        {"epochs": {"global:dev": True}},
        {"epochs": []},
        {"epochs": {f"s{number}": 0 for number in range(EPOCHS_MAX + 1)}},
        {"authorization_details": []},
        {"authorization_details": [{"type": "other"}]},
        {"authorization_details": [{"type": "counterfoil"}] * 2},
        {"authorization_details": "counterfoil"},
        {"act": "agent:x"},
        {"act": {}},
        {"customer_ref": 5},
    ],
)
def test_a_token_that_we_signed_by_mistake_is_refused(claims):
    with pytest.raises(UnauthenticatedError):
        verify(signed_token(**claims))


def chain(*actors: str) -> dict[str, Any]:
    """Return the claims of a token that the agent's own parent lent."""
    act: dict[str, Any] = {}
    for actor in reversed(actors):
        act = {"sub": actor} | ({"act": act} if act else {})
    return {"sub": PARENT, "did": "link-1", "act": act}


def test_a_chain_of_actors_at_the_limit_is_read_and_a_longer_one_is_not():
    longest = [AGENT, *others[: ACTORS_MAX - 1]]
    assert len(verify(signed_token(**chain(*longest))).actors) == ACTORS_MAX
    with pytest.raises(UnauthenticatedError):
        verify(signed_token(**chain(*longest, others[ACTORS_MAX - 1])))


@pytest.mark.parametrize(
    "claims",
    [
        {"act": {"sub": others[0]}},
        {"act": {"sub": PARENT}},
        {"act": {"sub": AGENT, "act": {"sub": AGENT}}},
        {"act": {"sub": AGENT, "act": {"sub": PARENT}}},
        {"act": {"sub": f"person:{AGENT_ID}"}},
        {"act": {"sub": AGENT, "act": {"sub": "customer:x"}}},
        {"act": ...},
        {"did": ...},
        {"sub": "service:0197a000-0000-7000-8000-00000000b001"},
        {"sub": "customer:a b"},
        {"sub": AGENT},
        {"lent_with": ["k", "l"]},
        {"lent_with": [""]},
        {"lent_with": "k"},
        {"may_act": {"sub": "person:x"}},
        {"may_act": {"sub": AGENT, "iss": "x"}},
        {"may_act": AGENT},
        {"counts": {"a": 0}},
        {"counts": {"a": True}},
        {"counts": {str(number): 1 for number in range(ACTORS_MAX + 2)}},
        {"counts": []},
    ],
)
def test_a_delegated_token_with_a_chain_that_cannot_be_is_refused(claims):
    assert verify(signed_token(**chain(AGENT)))
    with pytest.raises(UnauthenticatedError):
        verify(signed_token(**chain(AGENT) | claims))


def test_a_token_of_another_type_or_key_is_refused():
    for text in (
        signed_token(typ="dpop+jwt"),
        signed_token(typ="jwt"),
        signed_token(key=key_of("stranger")),
    ):
        with pytest.raises(UnauthenticatedError):
            verify(text)


def test_a_token_at_the_size_limit_is_read_and_a_longer_one_is_not():
    plain = len(signed_token(padding=""))
    room = (TOKEN_BYTES_MAX - plain) * 3 // 4 - 2
    assert verify(signed_token(padding="x" * room))
    with pytest.raises(UnauthenticatedError, match="too_large"):
        verify(signed_token(padding="x" * (room + 4)))


def test_a_token_carries_no_name_and_no_customer():
    claims = access_token_claims(access_token(), issuer=ISSUER)
    assert {"name", "email", "customer"}.isdisjoint(claims)
    assert "customer_ref" not in claims


keys = st.sampled_from(["a" * 43, "b" * 43])
subjects = st.sampled_from([AGENT, AGENT.replace("a001", "a002")])


@given(subjects, keys, subjects, keys)
def test_an_instance_has_one_id_for_ever_and_no_other_has_it(one, key, other, next_key):
    same = (one, key) == (other, next_key)
    assert (instance_id(one, jkt=key) == instance_id(other, jkt=next_key)) is same


def test_every_scope_that_can_void_a_token_is_named():
    scopes = revocation_scopes(AGENT, environment="dev", instance="i", grant="g")
    assert scopes == ("global:dev", AGENT, "instance:i", "grant:g")
