"""Workload assertions: one issuer, one subject, one audience, exactly, for a while."""

from __future__ import annotations

from datetime import timedelta
from functools import partial

import pytest

from broker.core.identity.workload import (
    RSA_BITS_MAX,
    RSA_BITS_MIN,
    SUBJECT_CHARS_MAX,
    WORKLOAD_LIFE_S_MAX,
    claimed_issuer,
    claimed_key,
    read_issuer_key,
    verify_workload,
)
from broker.core.words.errors import UnauthenticatedError
from tests.support.identities import ISSUER, NOW, NOW_S, key_of
from tests.support.identity.costs import signatures_checked
from tests.support.identity.issuers import (
    ACCOUNT,
    CLUSTER,
    SVID,
    account_token,
    cluster,
    ec_jwk,
    rsa,
    rsa_jwk,
    signed,
    svid,
    trust_domain,
)

RSA_KEY = read_issuer_key(rsa_jwk(rsa()))
EC_KEY = read_issuer_key(ec_jwk())


def verified(text: str, *, of=None, key=RSA_KEY, now=NOW):
    return verify_workload(text, federation=of or cluster(), key=key, now=now)


def test_a_service_accounts_token_and_a_jwt_svid_are_accepted() -> None:
    assert verified(account_token()).one_use is None
    assert verified(svid(), of=trust_domain(), key=EC_KEY).one_use is not None
    assert claimed_issuer(svid()) == ("spiffe://example.org", SVID)
    assert claimed_issuer(account_token()) == (CLUSTER, ACCOUNT)
    assert (claimed_key(svid()), claimed_key(account_token())) == ("ec-1", "rsa-1")


def test_an_assertion_is_used_once_unless_its_row_lets_it_be_shown_again() -> None:
    once = cluster(reusable=False)
    one, again = verified(account_token(), of=once), verified(account_token(), of=once)
    assert one.one_use == again.one_use
    other = verified(account_token(jti="projected-2"), of=once)
    assert other.one_use != one.one_use
    # Without a jti the bytes are the name.
    first, second = svid(), svid(iat=NOW_S - 1)
    uses = [verified(t, of=trust_domain(), key=EC_KEY).one_use for t in (first, second)]
    assert uses[0] != uses[1]


@pytest.mark.parametrize(
    "changes",
    [
        {"iss": "https://other.example"},
        {"iss": f"{CLUSTER}/"},
        {"iss": ...},
        {"iss": [CLUSTER]},
        {"sub": "system:serviceaccount:care:other"},
        {"sub": f"{ACCOUNT}x"},
        {"sub": ACCOUNT.upper()},
        {"sub": ...},
        {"aud": [ISSUER, "https://other.example"]},
        {"aud": [f"{ISSUER}/"]},
        {"aud": f"{ISSUER}/oauth/token"},
        {"aud": []},
        {"aud": ...},
        {"exp": ...},
        {"exp": NOW_S},
        {"exp": NOW_S + WORKLOAD_LIFE_S_MAX},
        {"exp": str(NOW_S + 60)},
        {"exp": float(NOW_S + 60)},
        {"iat": NOW_S + 60},
        {"nbf": NOW_S + 60},
        {"header": {"typ": "at+jwt"}},
        {"header": {"typ": "dpop+jwt"}},
        {"header": {"typ": "oauth-id-jag+jwt"}},
        {"header": {"typ": "counterfoil-interaction+jwt"}},
        {"header": {"kid": "rsa-2"}},
        {"header": {"kid": ...}},
        {"header": {"alg": "none"}},
        {"header": {"alg": "HS256"}},
        {"header": {"alg": "RS512"}},
        {"header": {"alg": "ES256"}},
        {"header": {"alg": "rs256"}},
        {"header": {"jku": "http://127.0.0.1:1/keys"}},
        {"header": {"x5u": "http://127.0.0.1:1/keys"}},
        {"header": {"jwk": {}}},
        {"header": {"crit": ["b64"], "b64": False}},
        {"key": key_of("issuer")},
    ],
)
def test_an_assertion_that_is_not_exactly_what_the_row_trusts_is_refused(
    changes,
) -> None:
    with pytest.raises(UnauthenticatedError):
        verified(account_token(**changes))


def test_a_key_that_is_not_known_or_of_another_algorithm_verifies_nothing() -> None:
    for key in (None, EC_KEY):
        with pytest.raises(UnauthenticatedError):
            verified(account_token(), key=key)
    head = {"alg": "ES256", "kid": "rsa-1"}
    with pytest.raises(UnauthenticatedError):
        verified(signed(key_of("issuer"), head, {"iss": CLUSTER, "sub": ACCOUNT}))


@pytest.mark.parametrize(
    ("text", "key", "of"),
    [(account_token(), RSA_KEY, cluster()), (svid(), EC_KEY, trust_domain())],
)
def test_a_refusal_takes_the_same_work_whether_or_not_a_row_trusts_the_issuer(
    text, key, of
) -> None:
    head, _, _ = text.rpartition(".")
    forged = f"{head}.{'A' * (342 if key is RSA_KEY else 86)}"

    def refused(federation, known) -> None:
        with pytest.raises(UnauthenticatedError, match="the assertion is not accept"):
            verify_workload(forged, federation=federation, key=known, now=NOW)

    cases = [(of, key), (of, None), (None, None), (None, key)]
    assert {signatures_checked(partial(refused, *c)) for c in cases} == {1}
    # Nothing that a decoy could verify is taken from anybody.
    for federation, known in cases[1:]:
        with pytest.raises(UnauthenticatedError):
            verify_workload(text, federation=federation, key=known, now=NOW)


def test_an_assertion_ends_at_its_end_and_lives_no_longer_than_its_row_says() -> None:
    text = account_token(iat=NOW_S, nbf=NOW_S, exp=NOW_S + 60)
    assert verified(text, of=cluster(life_s_max=60))
    with pytest.raises(UnauthenticatedError):
        verified(text, of=cluster(life_s_max=59))
    with pytest.raises(UnauthenticatedError):
        verified(text, now=NOW + timedelta(seconds=60))
    longest = account_token(iat=NOW_S, exp=NOW_S + WORKLOAD_LIFE_S_MAX)
    assert verified(longest, of=cluster(life_s_max=10 * WORKLOAD_LIFE_S_MAX))


def test_a_subject_at_the_limit_is_read_and_a_longer_one_is_not() -> None:
    longest = "s" * SUBJECT_CHARS_MAX
    assert claimed_issuer(account_token(sub=longest)) == (CLUSTER, longest)
    for sub in (f"{longest}s", "", 5, None):
        with pytest.raises(UnauthenticatedError):
            claimed_issuer(account_token(sub=sub))


def test_what_is_no_token_names_nobody() -> None:
    for text in ("", "a.b", "a.b.c", "x" * 9_000, "é.é.é"):
        for read in (claimed_issuer, claimed_key):
            with pytest.raises(UnauthenticatedError):
                read(text)


@pytest.mark.parametrize(
    "jwk",
    [
        rsa_jwk(rsa(), use="enc"),
        rsa_jwk(rsa(), d="AQAB"),
        rsa_jwk(rsa(), e="AQ"),
        rsa_jwk(rsa(), n=...),
        rsa_jwk(rsa(), n="AQAB" * (RSA_BITS_MAX // 8)),
        rsa_jwk(rsa(), n="é"),
        rsa_jwk(rsa()) | {"kid": 5},
        rsa_jwk(rsa(), kid="k" * 257),
        rsa_jwk(rsa(1_024)),
        ec_jwk(d="AQ"),
        ec_jwk(crv="P-384"),
        ec_jwk(x="AQ"),
        {"kty": "oct", "k": "AQAB", "kid": "k"},
        {"kty": "OKP", "crv": "X25519", "x": "AQ", "kid": "k"},
        {},
    ],
)
def test_a_key_that_is_weak_private_or_of_another_kind_is_passed_over(jwk) -> None:
    assert read_issuer_key(jwk) is None
    assert rsa().key_size >= RSA_BITS_MIN
