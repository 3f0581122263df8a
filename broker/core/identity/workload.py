"""Workload assertions: what another issuer signed about a process that runs an agent.

SPIFFE JWT-SVIDs, service account tokens of Kubernetes and tokens of any OpenID issuer,
taken as the grant of a token request. Each is compared with what the agent's signed row
trusts: one issuer, one subject and one audience, exactly, from one of its keys.

RS256 is taken here and nowhere else, because these issuers sign with it.

Source: RFC 7523 sections 2.1 and 3; RFC 8725; SPIFFE JWT-SVID section 3.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey, RSAPublicNumbers
from cryptography.hazmat.primitives.hashes import SHA256

from broker.core.identity.assertions import DECOYS
from broker.core.identity.claims import check_times, one_use, text_claim
from broker.core.identity.foreign import KID_CHARS_MAX, Split, parts_of, split
from broker.core.jwk import (
    JwsError,
    Problem,
    PublicKey,
    decode,
    encode,
    public_from_jwk,
)
from broker.core.jws import check
from broker.core.words.errors import UnauthenticatedError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from broker.core.words.identity import OneUse

WORKLOAD_LIFE_S_MAX: Final = 3_600
"""Longest life of a workload's assertion that any row may accept, in seconds."""

WORKLOAD_KEYS_MAX: Final = 32
"""Keys of one issuer that are looked at."""

RSA_BITS_MIN: Final = 2_048
RSA_BITS_MAX: Final = 8_192
SUBJECT_CHARS_MAX: Final = 256

_FIELDS = frozenset({"kid", "typ"})
_TYPES = frozenset({"", "jwt", "jose"})
_USES = frozenset({"sig", "jwt-svid"})
_EXPONENT = 65_537
_REFUSED = "the assertion is not acceptable"
# A modulus of our own making, to which nobody has the factors: see DECOYS.
_DECOY = RSAPublicNumbers(
    _EXPONENT, int.from_bytes(sha256(b"decoy").digest() * 8, "big") | 1 << 2047 | 1
).public_key()


@dataclass(frozen=True, slots=True)
class Federation:
    """Whose word counts for an agent: one subject of one issuer.

    ``keys`` are the issuer's public JWKs if they are pinned; else they are fetched from
    ``jwks_url``, which may lead to an address of ``networks`` beside public ones, and
    is verified against ``ca`` (PEM) if that is given. ``reusable`` lets an assertion
    get more than one token until it ends, as a projected file needs.
    """

    name: str
    issuer: str
    subject: str
    audience: str
    life_s_max: int
    reusable: bool = False
    keys: tuple[Mapping[str, str], ...] = ()
    jwks_url: str = ""
    networks: tuple[str, ...] = ()
    ca: str = ""

    @property
    def kid(self) -> str:
        """Return what stands for it where a registered key's name would stand."""
        text = f"federation\0{self.issuer}\0{self.subject}\0{self.audience}"
        return encode(sha256(text.encode()).digest()).decode("ascii")


@dataclass(frozen=True, slots=True)
class Workload:
    """A verified assertion; ``one_use`` is None for one that may be shown again."""

    federation: Federation
    one_use: OneUse | None


@dataclass(frozen=True, slots=True)
class IssuerKey:
    """A key of another issuer, as far as we know how to use it."""

    kid: str
    material: RSAPublicKey | PublicKey


def read_issuer_key(jwk: Mapping[str, Any]) -> IssuerKey | None:
    """Return a key of a JWK set, or None if it is of no use here.

    A set may hold keys for other purposes; one that is private or weak is passed over.
    """
    kid, use = jwk.get("kid", ""), jwk.get("use", "sig")
    if not isinstance(kid, str) or len(kid) > KID_CHARS_MAX or use not in _USES:
        return None
    if "d" in jwk or "k" in jwk:
        return None
    try:
        if jwk.get("kty") == "RSA":
            return IssuerKey(kid, _rsa(jwk))
        names = ("kty", "crv", "x", "y")
        return IssuerKey(kid, public_from_jwk({n: jwk[n] for n in names if n in jwk}))
    except JwsError:
        return None


def claimed_key(assertion: str) -> str:
    """Return the ``kid`` that an assertion names, before anything is verified.

    Raises:
        UnauthenticatedError: It cannot be read.
    """
    try:
        return split(assertion, fields=_FIELDS).kid
    except JwsError as error:
        msg = f"{_REFUSED} ({error.problem})"
        raise UnauthenticatedError(msg) from None


def claimed_issuer(assertion: str) -> tuple[str, str]:
    """Return issuer and subject that an assertion names; nothing is verified.

    A JWT-SVID may lack ``iss``: its trust domain stands for it.

    Raises:
        UnauthenticatedError: It cannot be read.
    """
    try:
        claims = split(assertion, fields=_FIELDS).claims
    except JwsError as error:
        msg = f"{_REFUSED} ({error.problem})"
        raise UnauthenticatedError(msg) from None
    subject = text_claim(claims, "sub", chars_max=SUBJECT_CHARS_MAX)
    if "iss" in claims:
        return text_claim(claims, "iss", chars_max=SUBJECT_CHARS_MAX), subject
    return _trust_domain(subject), subject


def verify_workload(
    assertion: str,
    *,
    federation: Federation | None,
    key: IssuerKey | None,
    now: datetime,
) -> Workload:
    """Verify an assertion against what an agent's row trusts.

    Args:
        assertion: The compact serialization.
        federation: Whose word counts; None if the row trusts nobody about this subject,
            or there is no such agent: that is refused in the same words and time.
        key: The issuer's key that the assertion names, None if there is none.
        now: The moment of the request.

    Raises:
        UnauthenticatedError: It is not by this issuer, about this subject, for us, or
            for now. Which of these is not told.
    """
    try:
        parts = split(assertion, fields=_FIELDS)
        _verify(parts, key)
    except JwsError:
        raise UnauthenticatedError(_REFUSED) from None
    if federation is None:
        raise UnauthenticatedError(_REFUSED)
    claims = parts.claims
    said = (claims.get("iss", _trust_domain(str(claims.get("sub")))), claims.get("sub"))
    if said != (federation.issuer, federation.subject):
        raise UnauthenticatedError(_REFUSED)
    if claims.get("aud") not in (federation.audience, [federation.audience]):
        raise UnauthenticatedError(_REFUSED)
    most = min(federation.life_s_max, WORKLOAD_LIFE_S_MAX)
    times = check_times(claims, now=now, life_s_max=most)
    if federation.reusable:
        return Workload(federation, None)
    # Without a jti the assertion itself is the name: the same bytes count once.
    jti = claims.get("jti", sha256(parts.signed).hexdigest())
    if not isinstance(jti, str) or not 0 < len(jti) <= SUBJECT_CHARS_MAX:
        raise UnauthenticatedError(_REFUSED)
    use = one_use("workload", key=federation.kid, jti=jti, until=times.expires_at)
    return Workload(federation, use)


def _trust_domain(subject: str) -> str:
    scheme, found, rest = subject.partition("spiffe://")
    return f"spiffe://{rest.partition('/')[0]}" if found and not scheme else ""


def _verify(found: Split, key: IssuerKey | None) -> None:
    if found.typ.lower() not in _TYPES:
        raise JwsError(Problem.TYP, "of another type")
    if key is None or key.kid != found.kid:
        known = found.alg == "RS256"
        decoy = _DECOY if known else DECOYS[parts_of(found).algorithm]
        _verify(found, IssuerKey(found.kid, decoy))
        raise JwsError(Problem.UNKNOWN_KEY, "signed by a key that is not known")
    if isinstance(key.material, PublicKey):
        check(parts_of(found), key=key.material)
        return
    if found.alg != "RS256":
        raise JwsError(Problem.ALGORITHM, "the key belongs to another algorithm")
    try:
        key.material.verify(found.signature, found.signed, PKCS1v15(), SHA256())
    except InvalidSignature:
        raise JwsError(Problem.SIGNATURE, "does not verify") from None


def _rsa(jwk: Mapping[str, Any]) -> RSAPublicKey:
    numbers = []
    for name in ("n", "e"):
        text = jwk.get(name)
        if not isinstance(text, str) or len(text) > RSA_BITS_MAX // 4:
            raise JwsError(Problem.KEY, f"{name!r} is no base64url")
        numbers.append(int.from_bytes(decode(text.encode("ascii", "replace")), "big"))
    modulus, exponent = numbers
    if exponent != _EXPONENT or not (
        RSA_BITS_MIN <= modulus.bit_length() <= RSA_BITS_MAX
    ):
        raise JwsError(Problem.KEY, "not an RSA key that is used here")
    try:
        return RSAPublicNumbers(exponent, modulus).public_key()
    except ValueError:
        raise JwsError(Problem.KEY, "not an RSA key") from None
