"""A caller is admitted only when token, proof, memory, row and epochs agree."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.core.authenticate import (
    Standing,
    admit,
    read_call,
    read_credentials,
)
from broker.core.identity.tokens import TOKEN_BYTES_MAX, key_scope
from broker.core.words.errors import ProofError, UnauthenticatedError
from broker.core.words.subject import Epochs, Grant, SubjectKind
from tests.support.identities import (
    AGENT_ID,
    AGENT_KEY,
    INSTANCE_KEY,
    INTERACTION_ID,
    NOW,
    TOKEN_KEY,
    access_token,
    key_of,
    proof,
    signed_token,
    target,
    trust,
)

BEARER = signed_token(access_token(jkt="", grant=Grant(interaction_id=INTERACTION_ID)))
NOBODY = Standing(first_use=True, kids=frozenset(), epochs={})
GOOD = Standing(first_use=True, kids=frozenset({AGENT_KEY.kid}), epochs={})


def call(text, *, scheme="DPoP", proofs=None, now=NOW, at=None):
    if proofs is None:
        proofs = [proof(token=text, now=now)] if scheme == "DPoP" else []
    credentials = read_credentials([f"{scheme} {text}"], proofs)
    return read_call(credentials, target=at or target(), trust=trust(), now=now)


def test_a_bound_token_with_its_proof_admits_a_caller_who_proved_possession():
    caller = admit(call(signed_token()), standing=GOOD)
    assert caller.kind is SubjectKind.AGENT
    assert caller.subject_id == AGENT_ID
    assert caller.kid == AGENT_KEY.kid
    assert caller.proof_of_possession
    assert caller.expires_at == NOW + timedelta(seconds=300)


def test_a_bearer_token_of_one_interaction_admits_without_possession():
    caller = admit(call(BEARER, scheme="Bearer"), standing=GOOD)
    assert not caller.proof_of_possession
    assert caller.grant.interaction_id == INTERACTION_ID


def test_a_bound_token_shown_as_bearer_is_refused():
    with pytest.raises(UnauthenticatedError, match="scheme"):
        call(signed_token(), scheme="Bearer")


def test_an_unbound_token_shown_with_a_proof_is_refused():
    with pytest.raises(UnauthenticatedError, match="scheme"):
        call(BEARER, scheme="DPoP")


@pytest.mark.parametrize(
    "token",
    [
        access_token(jkt=""),
        access_token(jkt="", kind=SubjectKind.PERSON),
        access_token(
            jkt="",
            kind=SubjectKind.SERVICE,
            grant=Grant(interaction_id=INTERACTION_ID),
        ),
    ],
)
def test_an_unbound_token_that_is_not_an_agents_for_one_interaction_is_refused(token):
    with pytest.raises(UnauthenticatedError, match="one interaction"):
        call(signed_token(token), scheme="Bearer")


def test_a_proof_by_another_key_than_the_tokens_is_refused():
    text = signed_token()
    stolen = proof(key=key_of("thief"), token=text)
    with pytest.raises(ProofError, match="another key"):
        call(text, proofs=[stolen])


@pytest.mark.parametrize(
    ("authorization", "proofs"),
    [
        ([], []),
        (["DPoP abc", "DPoP abc"], ["p"]),
        (["Bearer abc", "DPoP abc"], ["p"]),
        (["Basic abc"], []),
        (["DPoP"], ["p"]),
        (["DPoP abc def"], ["p"]),
        (["DPoP abc,DPoP def"], ["p"]),
        (["DPoP abc"], []),
        (["DPoP abc"], ["p", "q"]),
        (["Bearer abc"], ["p"]),
        (["Bearer abc\n"], []),
        (["Bearer \u00e4"], []),
        (["Bearer " + "a" * (TOKEN_BYTES_MAX + 1)], []),
    ],
)
def test_headers_that_are_not_exactly_one_token_and_its_proof_are_refused(
    authorization, proofs
):
    with pytest.raises((UnauthenticatedError, ProofError)):
        read_credentials(authorization, proofs)


def test_the_scheme_is_read_without_case_and_a_token_at_the_size_limit_is_read():
    assert read_credentials(["dpop abc"], ["p"]).scheme == "dpop"
    longest = "a" * TOKEN_BYTES_MAX
    assert read_credentials([f"BEARER {longest}"], []).token == longest


scopes = st.dictionaries(
    st.sampled_from(["global:dev", "agent:a", "instance:i", "grant:g"]),
    st.integers(0, 3),
    min_size=1,
)


@given(
    seen=scopes,
    # A signing key that was compromised has an epoch of its own.
    now=st.builds(
        lambda known, key: known | {key_scope(TOKEN_KEY.kid): key},
        scopes,
        st.sampled_from([0, 0, 0, 1]),
    ),
    first_use=st.booleans(),
    kids=st.frozensets(st.sampled_from([AGENT_KEY.kid, "other"])),
)
def test_a_caller_is_admitted_only_if_proof_key_and_every_epoch_hold(
    seen, now, first_use, kids
):
    token = access_token(epochs=Epochs(tuple(sorted(seen.items()))))
    presented = call(signed_token(token))
    standing = Standing(first_use=first_use, kids=kids, epochs=now)
    issued = seen | {key_scope(TOKEN_KEY.kid): 0}
    holds = (
        first_use
        and AGENT_KEY.kid in kids
        and all(now.get(scope, 0) <= epoch for scope, epoch in issued.items())
    )
    if holds:
        admitted = admit(presented, standing=standing)
        assert dict(admitted.epochs.scopes) == issued
    else:
        with pytest.raises((UnauthenticatedError, ProofError)):
            admit(presented, standing=standing)


def test_a_bearer_call_is_not_refused_for_a_proof_that_it_has_not():
    standing = Standing(first_use=False, kids=GOOD.kids, epochs={})
    caller = admit(call(BEARER, scheme="Bearer"), standing=standing)
    assert not caller.proof_of_possession
    with pytest.raises(ProofError, match="used before"):
        admit(call(signed_token()), standing=standing)


def test_an_identity_without_keys_is_refused_whatever_its_token_says():
    with pytest.raises(UnauthenticatedError, match="no longer active"):
        admit(call(signed_token()), standing=NOBODY)


def test_the_instance_that_proves_is_the_one_that_the_token_names():
    assert call(signed_token()).proof.jkt == INSTANCE_KEY.kid
