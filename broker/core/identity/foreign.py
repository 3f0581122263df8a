"""Read tokens that other people's libraries wrote, as strictly as they allow.

Our own artefacts have one header form (`broker.core.jws`). Client assertions and DPoP
proofs come from any OAuth client: the header may lack ``kid`` or ``typ``, or carry a
``jwk``. What may stand there is an allow-list per artefact, and nothing is decided by a
field that was not asked for.

Source: RFC 8725 sections 3.1 to 3.12; RFC 9864 (the algorithm name Ed25519).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from broker.core.canonical import CanonicalError, parse_json
from broker.core.jwk import Algorithm, JwsError, Problem, decode
from broker.core.jws import Parts

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet

FOREIGN_BYTES_MAX: Final = 8_192
"""Longest assertion or proof that is read, in bytes."""

FOREIGN_HEADER_BYTES_MAX: Final = 1_024
"""Longest decoded header: a DPoP proof carries its public key there."""

FOREIGN_DEPTH_MAX: Final = 16
"""Deepest nesting of a foreign header or payload."""

KID_CHARS_MAX: Final = 256

_ALGORITHMS = {
    "ES256": Algorithm.ES256,
    "EdDSA": Algorithm.EDDSA,
    "Ed25519": Algorithm.EDDSA,
}


@dataclass(frozen=True, slots=True)
class Foreign:
    """A token taken apart, of the right form and of nobody yet.

    ``claims`` were not signed by anybody until ``jws.check(parts, key=...)`` says so.
    """

    header: dict[str, Any]
    claims: dict[str, Any]
    parts: Parts


@dataclass(frozen=True, slots=True)
class Split:
    """A token taken apart, whatever algorithm it names; nothing of it is verified."""

    header: dict[str, Any]
    claims: dict[str, Any]
    alg: str
    kid: str
    typ: str
    payload: bytes
    signature: bytes
    signed: bytes


def read_foreign(token: str, *, fields: AbstractSet[str]) -> Foreign:
    """Take a foreign token apart without trusting any of it.

    Args:
        token: The compact serialization.
        fields: The header fields that may stand there; ``alg`` always must.

    Raises:
        JwsError: The token has another form; nothing of it is repeated in the text.
    """
    found = split(token, fields=fields)
    return Foreign(found.header, found.claims, parts_of(found))


def split(token: str, *, fields: AbstractSet[str]) -> Split:
    """Take a token apart; the algorithm is for the caller to accept (`parts_of`).

    Raises:
        JwsError: The token has another form; nothing of it is repeated in the text.
    """
    if len(token) > FOREIGN_BYTES_MAX:
        raise JwsError(Problem.TOO_LARGE, f"more than {FOREIGN_BYTES_MAX} bytes")
    if not token.isascii():
        raise JwsError(Problem.MALFORMED, "not ASCII")
    raw = token.encode("ascii")
    pieces = raw.split(b".")
    if len(pieces) != 3:  # noqa: PLR2004  (header, payload, signature)
        raise JwsError(Problem.MALFORMED, "not three parts")
    head, payload, signature = (decode(piece) for piece in pieces)
    header = _object(head, FOREIGN_HEADER_BYTES_MAX, Problem.HEADER)
    if not header.keys() <= fields | {"alg"}:
        raise JwsError(Problem.HEADER, "a header field that is not accepted here")
    for name in ("kid", "typ"):
        value = header.get(name, "")
        if not isinstance(value, str) or len(value) > KID_CHARS_MAX:
            raise JwsError(Problem.HEADER, f"{name} is no short string")
    alg = header.get("alg")
    if not isinstance(alg, str) or alg not in {*_ALGORITHMS, "RS256"}:
        raise JwsError(Problem.ALGORITHM, "only ES256 and EdDSA are accepted")
    return Split(
        header=header,
        claims=_object(payload, FOREIGN_BYTES_MAX, Problem.PAYLOAD),
        alg=alg,
        kid=header.get("kid", ""),
        typ=header.get("typ", ""),
        payload=payload,
        signature=signature,
        signed=raw[: len(pieces[0]) + 1 + len(pieces[1])],
    )


def parts_of(found: Split) -> Parts:
    """Return what `broker.core.jws.check` takes.

    Raises:
        JwsError: Of an algorithm that our own artefacts and clients do not use.
    """
    algorithm = _ALGORITHMS.get(found.alg)
    if algorithm is None:
        raise JwsError(Problem.ALGORITHM, "only ES256 and EdDSA are accepted")
    return Parts(
        algorithm=algorithm,
        kid=found.kid,
        typ=found.typ,
        payload=found.payload,
        signature=found.signature,
        signed=found.signed,
    )


def _object(data: bytes, bytes_max: int, problem: Problem) -> dict[str, Any]:
    try:
        value = parse_json(data, bytes_max=bytes_max, depth_max=FOREIGN_DEPTH_MAX)
    except CanonicalError as error:
        raise JwsError(problem, f"not strict JSON ({error.problem})") from None
    if not isinstance(value, dict):
        raise JwsError(problem, "not a JSON object")
    return value
