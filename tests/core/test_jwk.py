"""Keys: read strictly, named by their thumbprint, never printed."""

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from joserfc.jwk import JWKRegistry

from broker.core.jwk import (
    SEED_BYTES,
    Algorithm,
    JwsError,
    PrivateKey,
    Problem,
    decode,
    encode,
    private_from_jwk,
    private_from_seed,
    private_to_jwk,
    public_from_jwk,
    public_to_jwk,
    thumbprint,
)
from broker.core.jws import sign, verify

TYP = "counterfoil-test+jwt"
ED = private_from_seed(bytes(range(SEED_BYTES)), algorithm=Algorithm.EDDSA)
ES = private_from_seed(bytes(range(SEED_BYTES)), algorithm=Algorithm.ES256)

seeds = st.binary(min_size=SEED_BYTES, max_size=SEED_BYTES)


@given(seed=seeds, algorithm=st.sampled_from(Algorithm))
def test_a_key_survives_its_file(seed, algorithm) -> None:
    key = private_from_seed(seed, algorithm=algorithm)
    jwk = json.loads(json.dumps(private_to_jwk(key)))
    again = private_from_jwk(jwk)
    assert again.kid == key.kid == thumbprint(jwk)
    assert public_from_jwk(public_to_jwk(key.public())).kid == key.kid
    token = sign({"n": 1}, key=again, typ=TYP)
    assert verify(token, keys={key.kid: key.public()}, typ=TYP) == {"n": 1}


@given(seed=seeds, algorithm=st.sampled_from(Algorithm))
def test_the_thumbprint_is_the_one_that_joserfc_computes(seed, algorithm) -> None:
    key = private_from_seed(seed, algorithm=algorithm)
    jwk = JWKRegistry.import_key({**public_to_jwk(key.public())})
    assert jwk.thumbprint() == key.kid


def test_the_thumbprint_of_the_rfc_example_is_right() -> None:
    # Source: RFC 8037, appendix A.3.
    jwk = {
        "kty": "OKP",
        "crv": "Ed25519",
        "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",
    }
    assert thumbprint(jwk) == "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"


def test_a_private_key_shows_no_secret_when_printed() -> None:
    assert private_to_jwk(ED)["d"] not in repr(ED)
    assert repr(ED) == f"PrivateKey(kid={ED.kid!r})"


def _changed(key: PrivateKey, *, private: bool = False, **changes: object) -> dict:
    jwk: dict = private_to_jwk(key) if private else public_to_jwk(key.public())
    for name, value in changes.items():
        jwk.pop(name, None)
        if value is not None:
            jwk[name] = value
    return jwk


def test_a_private_key_is_refused_where_a_public_one_belongs() -> None:
    with pytest.raises(JwsError, match="private"):
        public_from_jwk(private_to_jwk(ED))


@pytest.mark.parametrize(
    "jwk",
    [
        {},
        {"kty": "oct", "k": "AAAA"},
        {"kty": "RSA", "n": "AQAB", "e": "AQAB"},
        _changed(ED, x=None),
        _changed(ED, x=1),
        _changed(ED, x="AA"),
        _changed(ED, x=public_to_jwk(ED.public())["x"] + "="),
        _changed(ED, y="AA"),
        _changed(ED, crv="X25519"),
        _changed(ED, crv="P-256"),
        _changed(ED, alg="ES256"),
        _changed(ED, kid="x"),
        _changed(ED, use="enc"),
        _changed(ED, kty=["OKP"]),
        _changed(ED, x5u="https://example.test"),
        _changed(ED, key_ops=["sign"]),
        _changed(ES, y=None),
        _changed(ES, y=encode(b"\x01" * 32).decode()),
        _changed(ES, x=encode(b"\x00" * 32).decode(), y=encode(b"\x00" * 32).decode()),
        _changed(ES, crv="P-384"),
        _changed(ES, crv="Ed25519"),
        _changed(ES, x="é" * 43),
    ],
)
def test_a_key_that_is_not_exactly_ours_is_refused(jwk) -> None:
    with pytest.raises(JwsError) as caught:
        public_from_jwk(jwk)
    assert caught.value.problem is Problem.KEY


@pytest.mark.parametrize(
    "jwk",
    [
        public_to_jwk(ED.public()),
        _changed(ED, private=True, d="AA"),
        _changed(ED, private=True, d=encode(b"\x01" * 32).decode()),
        _changed(ES, private=True, d=encode(b"\x01" * 32).decode()),
        _changed(ES, private=True, d=encode(b"\x00" * 32).decode()),
        _changed(ES, private=True, d=encode(b"\xff" * 32).decode()),
    ],
)
def test_a_private_key_whose_halves_differ_is_refused(jwk) -> None:
    with pytest.raises(JwsError) as caught:
        private_from_jwk(jwk)
    assert caught.value.problem is Problem.KEY


@pytest.mark.parametrize("length", [0, 32, SEED_BYTES - 1, SEED_BYTES + 1])
def test_a_seed_of_another_length_makes_no_key(length) -> None:
    with pytest.raises(JwsError, match="seed"):
        private_from_seed(b"\x01" * length, algorithm=Algorithm.ES256)


@given(data=st.binary(max_size=100))
def test_base64url_reads_back_and_has_one_text(data) -> None:
    assert decode(encode(data)) == data
    assert encode(data) == base64.urlsafe_b64encode(data).rstrip(b"=")
