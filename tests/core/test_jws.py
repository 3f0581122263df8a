"""Signatures: one strict form, checked against two other libraries."""

import base64
import json

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st
from joserfc import jws as other
from joserfc.jwk import JWKRegistry

from broker.core.jwk import SEED_BYTES, decode
from broker.core.jws import (
    BYTES_MAX,
    HEADER_BYTES_MAX,
    PAYLOAD_DEPTH_MAX,
    TYP_CHARS_MAX,
    Algorithm,
    JwsError,
    Parts,
    PrivateKey,
    Problem,
    check,
    private_from_seed,
    private_to_jwk,
    public_from_jwk,
    public_to_jwk,
    sign,
    unpack,
    verify,
)

TYP = "counterfoil-test+jwt"
ED = private_from_seed(bytes(range(SEED_BYTES)), algorithm=Algorithm.EDDSA)
ES = private_from_seed(bytes(range(SEED_BYTES)), algorithm=Algorithm.ES256)
KEYS = {key.kid: key.public() for key in (ED, ES)}

# joserfc prefers the name Ed25519 of RFC 9864; a header here says EdDSA (RFC 8037).
pytestmark = pytest.mark.filterwarnings("ignore:EdDSA is deprecated")

signers = st.sampled_from([ED, ES])
scalars = (
    st.none()
    | st.booleans()
    | st.integers(min_value=-(2**53) + 1, max_value=2**53 - 1)
    | st.text(max_size=20)
)
claims = st.dictionaries(
    st.text(max_size=10),
    st.recursive(
        scalars,
        lambda inner: (
            st.lists(inner, max_size=4)
            | st.dictionaries(st.text(max_size=8), inner, max_size=4)
        ),
        max_leaves=10,
    ),
    max_size=6,
)


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def forged(header: object, payload: object, *, key: PrivateKey = ED) -> str:
    """Sign whatever is given, as a careless or hostile signer would."""
    pieces = [
        item if isinstance(item, bytes) else json.dumps(item).encode()
        for item in (header, payload)
    ]
    signed = ".".join(b64(piece) for piece in pieces)
    if isinstance(key.material, ed25519.Ed25519PrivateKey):
        return f"{signed}.{b64(key.material.sign(signed.encode()))}"
    algorithm = jwt.get_algorithm_by_name("ES256")
    return f"{signed}.{b64(algorithm.sign(signed.encode(), key.material))}"


def header_of(key: PrivateKey, **changed: object) -> dict[str, object]:
    return {"alg": key.algorithm.value, "kid": key.kid, "typ": TYP} | changed


def refused(token: str | bytes, *, bytes_max: int = BYTES_MAX) -> str:
    with pytest.raises(JwsError) as caught:
        verify(token, keys=KEYS, typ=TYP, bytes_max=bytes_max)
    return caught.value.problem


@given(claims=claims, key=signers)
def test_what_was_signed_is_what_is_read(claims, key) -> None:
    token = sign(claims, key=key, typ=TYP)
    assert verify(token, keys=KEYS, typ=TYP) == claims
    assert verify(token.encode(), keys=KEYS, typ=TYP) == claims


@given(claims=claims, key=signers)
def test_two_other_libraries_accept_what_is_signed_here(claims, key) -> None:
    token = sign(claims, key=key, typ=TYP)
    name = key.algorithm.value
    read = jwt.PyJWS().decode(token, key.public().material, algorithms=[name])
    assert json.loads(read) == claims
    jwk = JWKRegistry.import_key({**public_to_jwk(key.public())})
    assert other.deserialize_compact(token, jwk, algorithms=[name]).payload == read


@given(claims=claims, key=signers)
def test_what_two_other_libraries_sign_is_accepted_here(claims, key) -> None:
    payload = json.dumps(claims).encode()
    header = header_of(key)
    name = key.algorithm.value
    first = jwt.PyJWS().encode(payload, key.material, algorithm=name, headers=header)
    jwk = JWKRegistry.import_key({**private_to_jwk(key)})
    second = other.serialize_compact(header, payload, jwk, algorithms=[name])
    for token in (first, second):
        assert verify(token, keys=KEYS, typ=TYP) == claims


@given(
    key=signers,
    where=st.floats(min_value=0, max_value=1, exclude_max=True),
    into=st.integers(min_value=0, max_value=255),
)
def test_a_token_with_one_byte_changed_is_refused(key, where, into) -> None:
    token = bytearray(sign({"amount": 100}, key=key, typ=TYP).encode())
    at = int(where * len(token))
    if token[at] == into:
        into ^= 1
    token[at] = into
    refused(bytes(token))


@given(key=signers, length=st.integers(min_value=0, max_value=400))
def test_a_token_cut_short_is_refused(key, length) -> None:
    token = sign({"amount": 100}, key=key, typ=TYP)
    refused(token[: min(length, len(token) - 1)])


@given(junk=st.binary(max_size=300))
def test_junk_is_refused_with_a_stable_word(junk) -> None:
    assert refused(junk) in set(Problem)


@pytest.mark.parametrize("key", [ED, ES], ids=["EdDSA", "ES256"])
def test_a_token_of_another_type_is_refused(key) -> None:
    for typ in ("at+jwt", "counterfoil-test+jws", "counterfoil-test+jwt2"):
        assert refused(sign({}, key=key, typ=typ)) == "typ"
    assert refused(forged(header_of(key, typ=TYP.upper()), {}, key=key)) == "typ"


def test_a_token_without_a_type_is_refused() -> None:
    assert refused(forged({"alg": "EdDSA", "kid": ED.kid}, {})) == "header"
    assert refused(forged(header_of(ED, typ=None), {})) == "header"


def test_a_key_that_is_not_trusted_here_is_refused() -> None:
    stranger = private_from_seed(b"\x07" * SEED_BYTES, algorithm=Algorithm.EDDSA)
    assert refused(sign({}, key=stranger, typ=TYP)) == "unknown_key"
    # A token that only claims to be from a trusted key does not verify.
    assert refused(forged(header_of(ED), {}, key=stranger)) == "signature"


@pytest.mark.parametrize(
    "alg", ["none", "None", "nOnE", "HS256", "RS256", "es256", "ES384", "Ed25519", ""]
)
def test_an_algorithm_that_is_not_ours_is_refused(alg) -> None:
    assert refused(forged(header_of(ED, alg=alg), {})) == "algorithm"


def test_a_token_cannot_choose_an_algorithm_for_a_key() -> None:
    assert refused(forged(header_of(ED, alg="ES256"), {})) == "algorithm"
    assert refused(forged(header_of(ES, alg="EdDSA"), {}, key=ES)) == "algorithm"


def test_a_public_key_is_never_used_as_a_shared_secret() -> None:
    assert isinstance(ES.material, ec.EllipticCurvePrivateKey)
    raw = ES.material.public_key().public_bytes(
        Encoding.X962, PublicFormat.UncompressedPoint
    )
    token = jwt.PyJWS().encode(
        b"{}", raw, algorithm="HS256", headers=header_of(ES, alg="HS256")
    )
    assert refused(token) == "algorithm"


@pytest.mark.parametrize(
    "name", ["crit", "jwk", "jku", "x5u", "x5c", "b64", "zip", "cty", "iv"]
)
def test_a_header_field_beyond_the_three_is_refused(name) -> None:
    assert refused(forged(header_of(ED, **{name: "x"}), {})) == "header"


@pytest.mark.parametrize(
    "header",
    [
        b"{}",
        b"[]",
        b"null",
        b'"x"',
        b"",
        b"\xff\xfe",
        b'{"alg":"EdDSA","alg":"EdDSA","kid":"k","typ":"t"}',
        b'{"alg":["EdDSA"],"kid":"k","typ":"t"}',
        b'{"alg":"EdDSA","kid":1,"typ":"t"}',
        b'{"alg":"EdDSA","kid":{"a":"b"},"typ":"t"}',
        b'{"alg":"EdDSA","kid":"\\ud800","typ":"t"}',
        b"[" * 100,
    ],
)
def test_a_malformed_header_is_refused(header) -> None:
    assert refused(forged(header, {})) == "header"


@pytest.mark.parametrize(
    "payload",
    [
        b"[]",
        b"null",
        b"1",
        b"",
        b"{} {}",
        b'{"a":1,"a":2}',
        b'{"a":NaN}',
        b'{"a":Infinity}',
        b'{"a":1e400}',
        b'{"a":1.0}',
        b'{"a":9007199254740992}',
        b'{"a":' + b"9" * 5000 + b"}",
        b'{"a":"\\ud800"}',
        b'{"a":"\xff"}',
        b"\xef\xbb\xbf{}",
        b'{"a":' * 20_000,
    ],
)
def test_a_payload_with_no_single_meaning_is_refused(payload) -> None:
    token = forged(header_of(ED), payload)
    assert refused(token, bytes_max=1_000_000) in {"payload", "too_large"}


def test_fractions_are_read_only_where_they_are_asked_for() -> None:
    token = forged(header_of(ED), b'{"a":0.5}')
    assert refused(token) == "payload"
    assert verify(token, keys=KEYS, typ=TYP, floats=True) == {"a": 0.5}


@pytest.mark.parametrize("change", ["pad", "newline", "space", "standard", "spare"])
def test_one_signature_has_one_text(change) -> None:
    token = sign({"a": "??>>"}, key=ED, typ=TYP)
    head, body, tail = token.split(".")
    last = chr(ord(tail[-1]) + 1)
    changed = {
        "pad": f"{head}.{body}.{tail}==",
        "newline": f"{head}.{body}.{tail}\n",
        "space": f" {head}.{body}.{tail}",
        "standard": f"{head}.{body}.{tail[:-2]}+/",
        "spare": f"{head}.{body}.{tail[:-1]}{last}",
    }
    assert refused(changed[change]) == "malformed"


@pytest.mark.parametrize(
    "token", ["", ".", "..", "a.b", "a.b.c.d", "a.b.c.d.e", "é.b.c"]
)
def test_anything_but_three_parts_is_refused(token) -> None:
    assert refused(token) in {"malformed", "header"}


@pytest.mark.parametrize("key", [ED, ES], ids=["EdDSA", "ES256"])
@pytest.mark.parametrize(
    "signature", [b"", b"\x00" * 64, b"\xff" * 64, b"\x01" * 63, b"\x01" * 65]
)
def test_a_made_up_signature_is_refused(key, signature) -> None:
    head, body, _ = sign({}, key=key, typ=TYP).split(".")
    assert refused(f"{head}.{body}.{b64(signature)}") == "signature"


def test_an_es256_signature_in_der_form_is_refused() -> None:
    assert isinstance(ES.material, ec.EllipticCurvePrivateKey)
    head, body, _ = sign({}, key=ES, typ=TYP).split(".")
    der = ES.material.sign(f"{head}.{body}".encode(), ec.ECDSA(SHA256()))
    assert refused(f"{head}.{body}.{b64(der)}") == "signature"


def test_a_token_at_the_size_limit_is_read_and_one_past_it_is_not() -> None:
    def filled(length: int) -> str:
        return forged(header_of(ED), {"a": "x" * length})

    size = next(n for n in range(48_000, 50_000) if len(filled(n)) > BYTES_MAX)
    assert len(filled(size - 1)) <= BYTES_MAX
    assert verify(filled(size - 1), keys=KEYS, typ=TYP)
    assert refused(filled(size)) == "too_large"
    with pytest.raises(JwsError, match="too_large"):
        sign({"a": "x" * (size + 1_000)}, key=ED, typ=TYP)


def test_a_narrower_size_limit_is_kept() -> None:
    token = sign({}, key=ED, typ=TYP)
    assert verify(token, keys=KEYS, typ=TYP, bytes_max=len(token)) == {}
    assert refused(token, bytes_max=len(token) - 1) == "too_large"


def test_a_header_at_the_size_limit_is_read_and_one_past_it_is_not() -> None:
    bare = json.dumps(header_of(ED), separators=(",", ":")).encode()
    fits = bare[:-1] + b" " * (HEADER_BYTES_MAX - len(bare)) + b"}"
    assert verify(forged(fits, {}), keys=KEYS, typ=TYP) == {}
    assert refused(forged(fits[:-1] + b" }", {})) == "header"


def test_a_payload_at_the_depth_limit_is_read_and_one_past_it_is_not() -> None:
    def nested(depth: int) -> bytes:
        return b'{"a":' + b"[" * (depth - 1) + b"]" * (depth - 1) + b"}"

    assert verify(forged(header_of(ED), nested(PAYLOAD_DEPTH_MAX)), keys=KEYS, typ=TYP)
    assert refused(forged(header_of(ED), nested(PAYLOAD_DEPTH_MAX + 1))) == "payload"


def test_a_type_at_the_length_limit_is_signed_and_one_past_it_is_not() -> None:
    typ = "t" * TYP_CHARS_MAX
    assert unpack(sign({}, key=ED, typ=typ)).typ == typ
    for wrong in (typ + "t", "", "Upper+jwt", "with space", "new\nline"):
        with pytest.raises(JwsError, match="typ"):
            sign({}, key=ED, typ=wrong)


@pytest.mark.parametrize("value", [float("nan"), 2**53, "\ud800", object(), {1: 2}])
def test_claims_that_are_no_json_are_not_signed(value) -> None:
    with pytest.raises(JwsError, match="payload"):
        sign({"a": value}, key=ED, typ=TYP)


def test_an_error_never_repeats_the_token() -> None:
    token = forged(header_of(ED, kid="secret-kid"), {"card": "4111"})
    with pytest.raises(JwsError) as caught:
        verify(token, keys=KEYS, typ=TYP)
    assert "secret-kid" not in str(caught.value)
    assert "4111" not in str(caught.value)


def test_the_signature_of_the_rfc_example_verifies() -> None:
    # Source: RFC 8037, appendix A.4; its payload is text, so only `check` applies.
    key = public_from_jwk(
        {
            "kty": "OKP",
            "crv": "Ed25519",
            "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",
        }
    )
    signed = b"eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc"
    signature = decode(
        b"hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvp"
        b"Ar_MuM0KAg"
    )
    check(Parts(Algorithm.EDDSA, key.kid, "", b"", signature, signed), key=key)
