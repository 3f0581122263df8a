"""Read, make and name the keys of signatures: Ed25519 and P-256, as JWK.

A key knows its algorithm and its name (the RFC 7638 thumbprint), so that no token ever
chooses either. `jws` signs and verifies with them.

Source: RFC 7517 and 8037 (JWK), RFC 7638 (thumbprint), RFC 7515 section 2 (base64url).
"""

from __future__ import annotations

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import (
    Ed25519PrivateKey,
    Ed25519PublicKey,
)

from broker.core.canonical import canonical

if TYPE_CHECKING:
    from collections.abc import Mapping

SEED_BYTES: Final = 48
"""Randomness for a new key: 256 bits, and 128 more so that ES256 has no bias."""

_COORDINATE_BYTES = 32
_P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
_KID = re.compile(r"[A-Za-z0-9_-]{43}")
_BASE64URL = re.compile(rb"[A-Za-z0-9_-]*")
# What a JWK may say beside its key material; "use" only to repeat that it signs.
_JWK_FIELDS = frozenset({"kty", "crv", "x", "y", "alg", "kid", "use"})


class Problem(StrEnum):
    """Why a token or key is refused."""

    TOO_LARGE = "too_large"
    MALFORMED = "malformed"
    HEADER = "header"
    ALGORITHM = "algorithm"
    TYP = "typ"
    UNKNOWN_KEY = "unknown_key"
    SIGNATURE = "signature"
    PAYLOAD = "payload"
    KEY = "key"


class JwsError(ValueError):
    """A token or key that is refused; ``problem`` is a stable word for why.

    The text never repeats any part of the token: it may be a secret.
    """

    def __init__(self, problem: Problem, detail: str) -> None:
        """Keep the stable word apart from the sentence for people."""
        super().__init__(f"{problem}: {detail}")
        self.problem = problem
        self.detail = detail


class Algorithm(StrEnum):
    """What a key signs with; a key has exactly one."""

    EDDSA = "EdDSA"
    ES256 = "ES256"


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A key to verify with; ``kid`` is the RFC 7638 thumbprint of its public JWK."""

    kid: str
    algorithm: Algorithm
    material: Ed25519PublicKey | ec.EllipticCurvePublicKey


@dataclass(frozen=True, slots=True)
class PrivateKey:
    """A key to sign with; its ``repr`` shows the public identifier only."""

    kid: str
    algorithm: Algorithm
    material: Ed25519PrivateKey | ec.EllipticCurvePrivateKey

    def public(self) -> PublicKey:
        """Return the public half."""
        return PublicKey(self.kid, self.algorithm, self.material.public_key())

    def __repr__(self) -> str:
        """Keep the private half out of logs and tracebacks."""
        return f"PrivateKey(kid={self.kid!r})"


def private_from_seed(seed: bytes, *, algorithm: Algorithm) -> PrivateKey:
    """Make a key out of SEED_BYTES of fresh randomness, which the caller draws.

    Raises:
        JwsError: ``key``, wrong length.

    Source: FIPS 186-5, appendix A.2.1 (extra random bits) for ES256.
    """
    if len(seed) != SEED_BYTES:
        raise JwsError(Problem.KEY, f"a seed has {SEED_BYTES} bytes")
    if algorithm is Algorithm.EDDSA:
        return _private(Ed25519PrivateKey.from_private_bytes(seed[:_COORDINATE_BYTES]))
    scalar = int.from_bytes(seed, "big") % (_P256_ORDER - 1) + 1
    return _private(ec.derive_private_key(scalar, ec.SECP256R1()))


def public_from_jwk(jwk: Mapping[str, Any]) -> PublicKey:
    """Read a public JWK: Ed25519 or P-256, and nothing private in it.

    ``alg``, ``kid`` and ``use`` may be there and must then agree with the key.

    Raises:
        JwsError: ``key``.
    """
    if "d" in jwk:
        raise JwsError(Problem.KEY, "a private key stands where a public one belongs")
    return _public_from_jwk(jwk)


def public_to_jwk(key: PublicKey) -> dict[str, str]:
    """Return the public JWK with its ``alg``, ``kid`` and ``use``."""
    return _required(key.material) | {
        "alg": key.algorithm.value,
        "kid": key.kid,
        "use": "sig",
    }


def private_from_jwk(jwk: Mapping[str, Any]) -> PrivateKey:
    """Read a private JWK, and check that its two halves belong together.

    Raises:
        JwsError: ``key``.
    """
    public = _public_from_jwk({name: jwk[name] for name in jwk if name != "d"})
    secret = _coordinate(jwk, "d")
    material: Ed25519PrivateKey | ec.EllipticCurvePrivateKey
    try:
        if public.algorithm is Algorithm.EDDSA:
            material = Ed25519PrivateKey.from_private_bytes(secret)
        else:
            scalar = int.from_bytes(secret, "big")
            material = ec.derive_private_key(scalar, ec.SECP256R1())
    except ValueError:
        raise JwsError(Problem.KEY, "'d' is out of range") from None
    key = _private(material)
    if key.kid != public.kid:
        raise JwsError(Problem.KEY, "the private and the public half differ")
    return key


def private_to_jwk(key: PrivateKey) -> dict[str, str]:
    """Return the private JWK, for a file that only its owner can read."""
    if isinstance(key.material, Ed25519PrivateKey):
        secret = key.material.private_bytes_raw()
    else:
        number = key.material.private_numbers().private_value
        secret = number.to_bytes(_COORDINATE_BYTES, "big")
    return public_to_jwk(key.public()) | {"d": encode(secret).decode("ascii")}


def thumbprint(jwk: Mapping[str, Any]) -> str:
    """Return the base64url SHA-256 thumbprint of a key. Source: RFC 7638.

    Raises:
        JwsError: ``key``.
    """
    return _public_from_jwk({name: jwk[name] for name in jwk if name != "d"}).kid


def is_kid(text: str) -> bool:
    """Return whether a text has the form of a key's name: a thumbprint."""
    return _KID.fullmatch(text) is not None


def encode(data: bytes) -> bytes:
    """Return base64url without padding. Source: RFC 7515, section 2."""
    return urlsafe_b64encode(data).rstrip(b"=")


def decode(text: bytes) -> bytes:
    """Read base64url: its alphabet only, no padding, and no spare bits set.

    Raises:
        JwsError: ``malformed``. Without the last two rules one signature would have
            several texts.
    """
    if not _BASE64URL.fullmatch(text) or len(text) % 4 == 1:
        raise JwsError(Problem.MALFORMED, "not base64url")
    data = urlsafe_b64decode(text + b"=" * (-len(text) % 4))
    if encode(data) != text:
        raise JwsError(Problem.MALFORMED, "base64url with spare bits set")
    return data


def _private(material: Ed25519PrivateKey | ec.EllipticCurvePrivateKey) -> PrivateKey:
    required = _required(material.public_key())
    return PrivateKey(_kid(required), _algorithm(required), material)


def _public_from_jwk(jwk: Mapping[str, Any]) -> PublicKey:
    if not jwk.keys() <= _JWK_FIELDS:
        raise JwsError(Problem.KEY, "a key has fields that are not known here")
    material: Ed25519PublicKey | ec.EllipticCurvePublicKey
    match jwk.get("kty"), jwk.get("crv"):
        case "OKP", "Ed25519" if "y" not in jwk:
            material = Ed25519PublicKey.from_public_bytes(_coordinate(jwk, "x"))
        case "EC", "P-256":
            material = _point(_coordinate(jwk, "x"), _coordinate(jwk, "y"))
        case _:
            raise JwsError(Problem.KEY, "not an Ed25519 or P-256 key")
    required = _required(material)
    key = PublicKey(_kid(required), _algorithm(required), material)
    said = {"alg": key.algorithm.value, "kid": key.kid, "use": "sig"}
    if any(jwk[name] != said[name] for name in said.keys() & jwk.keys()):
        raise JwsError(Problem.KEY, "alg, kid or use does not agree with the key")
    return key


def _point(x: bytes, y: bytes) -> ec.EllipticCurvePublicKey:
    numbers = ec.EllipticCurvePublicNumbers(
        int.from_bytes(x, "big"), int.from_bytes(y, "big"), ec.SECP256R1()
    )
    try:
        return numbers.public_key()
    except ValueError:
        raise JwsError(Problem.KEY, "not a point on the curve") from None


def _required(
    material: Ed25519PublicKey | ec.EllipticCurvePublicKey,
) -> dict[str, str]:
    """Return the members that RFC 7638 hashes."""
    if isinstance(material, Ed25519PublicKey):
        x = encode(material.public_bytes_raw()).decode("ascii")
        return {"crv": "Ed25519", "kty": "OKP", "x": x}
    point = material.public_numbers()
    return {
        "crv": "P-256",
        "kty": "EC",
        "x": encode(point.x.to_bytes(_COORDINATE_BYTES, "big")).decode("ascii"),
        "y": encode(point.y.to_bytes(_COORDINATE_BYTES, "big")).decode("ascii"),
    }


def _kid(required: Mapping[str, str]) -> str:
    # Only ASCII strings: canonical JSON is the form that the RFC asks for.
    return encode(sha256(canonical(dict(required))).digest()).decode("ascii")


def _algorithm(required: Mapping[str, str]) -> Algorithm:
    return Algorithm.EDDSA if required["kty"] == "OKP" else Algorithm.ES256


def _coordinate(jwk: Mapping[str, Any], name: str) -> bytes:
    text = jwk.get(name)
    if not isinstance(text, str) or not text.isascii():
        raise JwsError(Problem.KEY, f"{name!r} is missing or no base64url")
    try:
        data = decode(text.encode("ascii"))
    except JwsError:
        raise JwsError(Problem.KEY, f"{name!r} is no base64url") from None
    if len(data) != _COORDINATE_BYTES:
        raise JwsError(Problem.KEY, f"{name!r} has not {_COORDINATE_BYTES} bytes")
    return data
