"""Sign and verify: compact JWS of one strict form, for every artefact in the house.

Two algorithms, one header form `{alg, kid, typ}`, one meaning per byte: whatever is not
exactly that is refused before any cryptography runs. A key knows its algorithm, so a
token never chooses one. Every artefact has its own ``typ`` and is refused in the place
of every other.

Source: RFC 7515 (JWS), RFC 8037 (EdDSA), RFC 7518 section 3.4 (ES256), RFC 8725 (best
practice: sections 3.1, 3.2 and 3.11).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, cast

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import (
    Ed25519PrivateKey,
    Ed25519PublicKey,
)
from cryptography.hazmat.primitives.asymmetric.utils import (
    decode_dss_signature,
    encode_dss_signature,
)
from cryptography.hazmat.primitives.hashes import SHA256

from broker.core.canonical import CanonicalError, JsonInput, canonical, parse_json
from broker.core.jwk import (
    Algorithm,
    JwsError,
    PrivateKey,
    Problem,
    PublicKey,
    decode,
    encode,
    private_from_jwk,
    private_from_seed,
    private_to_jwk,
    public_from_jwk,
    public_to_jwk,
    thumbprint,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "Algorithm",
    "JwsError",
    "Parts",
    "PrivateKey",
    "Problem",
    "PublicKey",
    "check",
    "claims_of",
    "private_from_jwk",
    "private_from_seed",
    "private_to_jwk",
    "public_from_jwk",
    "public_to_jwk",
    "sign",
    "thumbprint",
    "unpack",
    "verify",
]

BYTES_MAX: Final = 65_536
"""Longest token that is signed or read, in bytes."""

HEADER_BYTES_MAX: Final = 512
"""Longest header, decoded."""

PAYLOAD_DEPTH_MAX: Final = 40
"""Deepest nesting of a payload: a result's 32 and what is wrapped around it."""

TYP_CHARS_MAX: Final = 100

_SIGNATURE_BYTES = 64
_TYP = re.compile(rf"[a-z0-9][a-z0-9.+-]{{0,{TYP_CHARS_MAX - 1}}}")
_HEADER_FIELDS = frozenset({"alg", "kid", "typ"})


@dataclass(frozen=True, slots=True)
class Parts:
    """A token taken apart, of the right form and of nobody yet."""

    algorithm: Algorithm
    kid: str
    typ: str
    payload: bytes
    signature: bytes
    signed: bytes


def sign(
    claims: Mapping[str, Any],
    *,
    key: PrivateKey,
    typ: str,
    bytes_max: int = BYTES_MAX,
) -> str:
    """Return a compact JWS over the canonical JSON of ``claims``.

    ``bytes_max`` is the longest token that is made.

    Raises:
        JwsError: ``payload``, the claims are no JSON; ``too_large``; ``typ``.
    """
    if not _TYP.fullmatch(typ):
        raise JwsError(
            Problem.TYP, "not a lower-case media type without 'application/'"
        )
    header = {"alg": key.algorithm.value, "kid": key.kid, "typ": typ}
    try:
        body = canonical(cast("JsonInput", claims))
    except CanonicalError as error:
        raise JwsError(Problem.PAYLOAD, str(error)) from None
    signed = encode(canonical(header)) + b"." + encode(body)
    token = signed + b"." + encode(_signature(signed, key))
    if len(token) > bytes_max:
        raise JwsError(Problem.TOO_LARGE, f"more than {bytes_max} bytes")
    return token.decode("ascii")


def verify(
    token: str | bytes,
    *,
    keys: Mapping[str, PublicKey],
    typ: str,
    bytes_max: int = BYTES_MAX,
    floats: bool = False,
) -> dict[str, Any]:
    """Return the claims of a token, if one of ``keys`` signed it as a ``typ``.

    Args:
        token: The compact serialization.
        keys: What is trusted, by key id.
        typ: The one type that is accepted here, compared exactly.
        bytes_max: Longest token accepted.
        floats: Accept numbers with a fraction among the claims.

    Raises:
        JwsError: The token is refused; ``problem`` says why. Times, audience and every
            other claim are the caller's to check.
    """
    parts = unpack(token, bytes_max=bytes_max)
    if parts.typ != typ:
        raise JwsError(Problem.TYP, f"not a {typ}")
    key = keys.get(parts.kid)
    if key is None:
        raise JwsError(Problem.UNKNOWN_KEY, "signed by a key that is not trusted here")
    check(parts, key=key)
    return claims_of(parts, floats=floats, bytes_max=bytes_max)


def unpack(token: str | bytes, *, bytes_max: int = BYTES_MAX) -> Parts:
    """Take a token apart without trusting any of it.

    For callers that find the key by ``kid``; everybody else wants `verify`.

    Raises:
        JwsError: ``too_large``, ``malformed``, ``header`` or ``algorithm``.
    """
    if len(token) > bytes_max:
        raise JwsError(Problem.TOO_LARGE, f"more than {bytes_max} bytes")
    if isinstance(token, str):
        try:
            token = token.encode("ascii")
        except UnicodeEncodeError:
            raise JwsError(Problem.MALFORMED, "not ASCII") from None
    pieces = token.split(b".")
    if len(pieces) != 3:  # noqa: PLR2004  (header, payload, signature)
        raise JwsError(Problem.MALFORMED, "not three parts")
    header, payload, signature = (decode(piece) for piece in pieces)
    fields = _object(
        header, bytes_max=HEADER_BYTES_MAX, depth_max=1, problem=Problem.HEADER
    )
    # An unknown name ("crit", "jwk", "jku", "x5u", "b64", "zip") could change what the
    # token means for another reader: exactly these three, or nothing.
    if fields.keys() != _HEADER_FIELDS:
        raise JwsError(Problem.HEADER, "a header holds alg, kid and typ, nothing else")
    alg, kid, typ = fields["alg"], fields["kid"], fields["typ"]
    if not (isinstance(alg, str) and isinstance(kid, str) and isinstance(typ, str)):
        raise JwsError(Problem.HEADER, "alg, kid and typ are strings")
    try:
        algorithm = Algorithm(alg)
    except ValueError:
        raise JwsError(Problem.ALGORITHM, "only EdDSA and ES256 are accepted") from None
    signed = token[: len(pieces[0]) + 1 + len(pieces[1])]
    return Parts(algorithm, kid, typ, payload, signature, signed)


def check(parts: Parts, *, key: PublicKey) -> None:
    """Check the signature with this key and the algorithm that belongs to it.

    Raises:
        JwsError: ``algorithm`` or ``signature``.
    """
    if parts.algorithm is not key.algorithm:
        raise JwsError(Problem.ALGORITHM, "the key belongs to another algorithm")
    if len(parts.signature) != _SIGNATURE_BYTES:
        raise JwsError(Problem.SIGNATURE, "wrong length")
    try:
        if isinstance(key.material, Ed25519PublicKey):
            key.material.verify(parts.signature, parts.signed)
        else:
            half = _SIGNATURE_BYTES // 2
            pair = encode_dss_signature(
                int.from_bytes(parts.signature[:half], "big"),
                int.from_bytes(parts.signature[half:], "big"),
            )
            key.material.verify(pair, parts.signed, ec.ECDSA(SHA256()))
    except InvalidSignature:
        raise JwsError(Problem.SIGNATURE, "does not verify") from None


def claims_of(
    parts: Parts, *, floats: bool = False, bytes_max: int = BYTES_MAX
) -> dict[str, Any]:
    """Read the payload as one strict JSON object; `check` comes first.

    Raises:
        JwsError: ``payload``.
    """
    return _object(
        parts.payload,
        bytes_max=bytes_max,
        depth_max=PAYLOAD_DEPTH_MAX,
        problem=Problem.PAYLOAD,
        floats=floats,
    )


def _signature(signed: bytes, key: PrivateKey) -> bytes:
    if isinstance(key.material, Ed25519PrivateKey):
        return key.material.sign(signed)
    half = _SIGNATURE_BYTES // 2
    r, s = decode_dss_signature(key.material.sign(signed, ec.ECDSA(SHA256())))
    return r.to_bytes(half, "big") + s.to_bytes(half, "big")


def _object(
    data: bytes,
    *,
    bytes_max: int,
    depth_max: int,
    problem: Problem,
    floats: bool = False,
) -> dict[str, Any]:
    try:
        value = parse_json(
            data, bytes_max=bytes_max, depth_max=depth_max, floats=floats
        )
    except CanonicalError as error:
        raise JwsError(problem, f"not strict JSON ({error.problem})") from None
    if not isinstance(value, dict):
        raise JwsError(problem, "not a JSON object")
    return value
