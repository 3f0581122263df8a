"""DPoP: a caller shows, for this very request, that it holds the key of its token.

Server nonces are stateless: a MAC over the nonce epoch and a time slot. The epoch moves
when the memory of seen proofs was lost, and then only proofs made afterwards count.

Source: RFC 9449.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final

from broker.core.identity.claims import (
    CLOCK_AHEAD_S_MAX,
    JTI_CHARS_MAX,
    TIME_S_MAX,
    one_use,
)
from broker.core.identity.foreign import read_foreign
from broker.core.identity.target import Target, names_target
from broker.core.jwk import JwsError, PublicKey, encode, public_from_jwk, public_to_jwk
from broker.core.jws import check
from broker.core.words.errors import NonceNeededError, ProofError
from broker.core.words.identity import Proof

if TYPE_CHECKING:
    from collections.abc import Mapping


DPOP_TYP: Final = "dpop+jwt"

PROOF_AGE_S_MAX: Final = 60
"""How old a proof may be, in seconds."""

NONCE_SLOT_S: Final = 60
"""A nonce is good for the rest of its slot and the whole next one."""

NONCE_CHARS_MAX: Final = 128

NONCE_LOOK_S: Final = 5
"""How long a replica believes that the epoch has not moved."""

NONCE_SETTLE_S: Final = PROOF_AGE_S_MAX + CLOCK_AHEAD_S_MAX + NONCE_LOOK_S + 5
"""How long after the epoch moved a proof must carry its nonce: until every proof of
before has ended, also those that a replica took which had not looked yet, with five
seconds for the clocks of the replicas."""

_FIELDS = frozenset({"typ", "jwk"})
_KEY_FIELDS = ("kty", "crv", "x", "y")
# Names of other members of public keys that clients are seen to send; they say nothing.
_KEY_HARMLESS = frozenset({"alg", "kid", "use", "key_ops", "ext"})
_KEYS_KEPT = 4_096
_HINT = "make a new proof for every request (RFC 9449)"


@dataclass(frozen=True, slots=True)
class NonceRule:
    """The epoch in which replays are being remembered now.

    ``changed_at`` is when the memory was last lost; ``required`` says that it is being
    kept by the fallback, where only proofs of this epoch count.
    """

    epoch: int
    changed_at: datetime
    required: bool = False

    def demands(self, now: datetime) -> bool:
        """Return whether a proof without a nonce is refused at ``now``."""
        settled = self.changed_at + timedelta(seconds=NONCE_SETTLE_S)
        return self.required or now < settled


def verify_dpop(
    proof: str, *, target: Target, now: datetime, token: str | None = None
) -> Proof:
    """Verify a DPoP proof for one request.

    Args:
        proof: The ``DPoP`` header; there must have been exactly one.
        target: What was called.
        now: The moment of the request.
        token: The access token sent with it; None at the token endpoint.

    Returns:
        What the proof shows. The caller must still learn that ``one_use`` is the first,
        that the nonce is good (`check_nonce`), and that ``jkt`` is the token's.

    Raises:
        ProofError: The proof is not for this request, key or moment.

    Source: RFC 9449 section 4.3.
    """
    try:
        foreign = read_foreign(proof, fields=_FIELDS)
        key = _key(foreign.header.get("jwk"))
        check(foreign.parts, key=key)
    except JwsError as error:
        msg = f"the DPoP proof is not acceptable ({error.problem})"
        raise ProofError(msg, hint=_HINT) from None
    if foreign.parts.typ != DPOP_TYP:
        msg = f"the proof's typ is not {DPOP_TYP}"
        raise ProofError(msg, hint=_HINT)
    claims = foreign.claims
    _check_request(claims, target)
    _check_token(claims, token)
    issued_at = _check_age(claims, now)
    jti = claims.get("jti")
    if not isinstance(jti, str) or not 0 < len(jti) <= JTI_CHARS_MAX:
        msg = f"the proof's jti is no string of 1 to {JTI_CHARS_MAX} characters"
        raise ProofError(msg, hint=_HINT)
    nonce = claims.get("nonce", "")
    if not isinstance(nonce, str) or len(nonce) > NONCE_CHARS_MAX:
        msg = "the proof's nonce is not one of ours"
        raise ProofError(msg, hint=_HINT)
    return Proof(
        jkt=key.kid,
        nonce=nonce,
        issued_at=issued_at,
        one_use=one_use(
            "dpop",
            key=key.kid,
            jti=jti,
            until=issued_at + timedelta(seconds=PROOF_AGE_S_MAX),
        ),
    )


def token_hash(token: str) -> str:
    """Return ``ath``: the base64url SHA-256 of an access token."""
    return encode(sha256(token.encode("ascii")).digest()).decode("ascii")


def proof_claims(
    *, method: str, url: str, jti: str, now: datetime, token: str | None = None
) -> dict[str, Any]:
    """Return the claims of a proof that `verify_dpop` accepts; add ``nonce`` if told.

    ``url`` is the address without query and fragment.
    """
    claims: dict[str, Any] = {
        "jti": jti,
        "htm": method,
        "htu": url,
        "iat": int(now.timestamp()),
    }
    return claims if token is None else claims | {"ath": token_hash(token)}


def proof_key(key: PublicKey) -> dict[str, str]:
    """Return the members of a public key that belong into a proof's header."""
    jwk = public_to_jwk(key)
    return {name: jwk[name] for name in _KEY_FIELDS if name in jwk}


def make_nonce(secret: bytes, *, epoch: int, now: datetime) -> str:
    """Return the server nonce of this epoch and moment."""
    return _nonce(secret, epoch, int(now.timestamp()) // NONCE_SLOT_S)


def check_nonce(proof: Proof, *, rule: NonceRule, secret: bytes, now: datetime) -> None:
    """Require a good nonce where one is demanded, and never accept a bad one.

    Raises:
        NonceNeededError: With the nonce to use.
    """
    fresh = make_nonce(secret, epoch=rule.epoch, now=now)
    if not proof.nonce:
        if rule.demands(now):
            msg = "a DPoP proof must carry the server's nonce now"
            raise NonceNeededError(msg, nonce=fresh)
        return
    slot = int(now.timestamp()) // NONCE_SLOT_S
    good = [_nonce(secret, rule.epoch, at) for at in (slot, slot - 1)]
    # Both are compared in full: the time tells nothing about where they differ.
    if not any([hmac.compare_digest(proof.nonce.encode(), n.encode()) for n in good]):  # noqa: C419
        msg = "the DPoP proof's nonce is not current"
        raise NonceNeededError(msg, nonce=fresh)


def _nonce(secret: bytes, epoch: int, slot: int) -> str:
    said = f"dpop-nonce\0{epoch}\0{slot}".encode("ascii")
    return encode(hmac.digest(secret, said, "sha256")).decode("ascii")


def _key(jwk: object) -> PublicKey:
    """Return the key of a proof, without what else a client wrote about it.

    Raises:
        JwsError: Not a public P-256 or Ed25519 key, or not on its curve.
    """
    if not isinstance(jwk, dict):
        return public_from_jwk({})
    members = {name: jwk[name] for name in jwk.keys() - _KEY_HARMLESS}
    values = tuple(members.get(name, "") for name in _KEY_FIELDS)
    if members.keys() <= {*_KEY_FIELDS} and all(type(v) is str for v in values):
        return _imported(*values)
    return public_from_jwk(members)


@lru_cache(maxsize=_KEYS_KEPT)
def _imported(kty: str, crv: str, x: str, y: str) -> PublicKey:
    """Import a key once: finding the point costs as much as a signature check."""
    jwk = {"kty": kty, "crv": crv, "x": x, "y": y}
    return public_from_jwk({name: value for name, value in jwk.items() if value})


def _check_request(claims: Mapping[str, Any], target: Target) -> None:
    if claims.get("htm") != target.method:
        msg = "the proof's htm is not this request's method"
        raise ProofError(msg, hint=_HINT)
    htu = claims.get("htu")
    if not isinstance(htu, str) or not names_target(htu, target):
        msg = "the proof's htu is not this request's address"
        hint = "use the public URL of the call, without query and fragment"
        raise ProofError(msg, hint=hint)


def _check_token(claims: Mapping[str, Any], token: str | None) -> None:
    if token is None:
        return
    ath = claims.get("ath")
    if not isinstance(ath, str) or not hmac.compare_digest(
        ath.encode(), token_hash(token).encode()
    ):
        msg = "the proof's ath is missing or of another token"
        raise ProofError(msg, hint=_HINT)


def _check_age(claims: Mapping[str, Any], now: datetime) -> datetime:
    iat = claims.get("iat")
    if type(iat) is not int or not 0 <= iat <= TIME_S_MAX:
        msg = "the proof's iat is no whole number of seconds"
        raise ProofError(msg, hint=_HINT)
    issued_at = datetime.fromtimestamp(iat, tz=UTC)
    age_s = (now - issued_at).total_seconds()
    if age_s > PROOF_AGE_S_MAX:
        msg = f"the proof is older than {PROOF_AGE_S_MAX} s"
        raise ProofError(msg, hint=_HINT)
    if age_s < -CLOCK_AHEAD_S_MAX:
        msg = f"the proof's iat is more than {CLOCK_AHEAD_S_MAX} s in the future"
        raise ProofError(msg, hint="set the clock")
    return issued_at
