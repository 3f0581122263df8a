"""Stage 1, authenticate: who asks, with which key, in whose name, and still?

Four questions, in this order: is the token ours, for here and for now (`read_call`);
does this very request prove the key that the token is bound to (`read_call`); was the
proof used before, and has anything been revoked since (`admit`). What must be looked up
between the two comes back as a value: the clock, the memory of seen proofs, the epochs
and the signed row.

Source: RFC 9449 section 7; RFC 9068 section 4; DESIGN, chapter 7 (Tokens).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from hmac import compare_digest
from typing import TYPE_CHECKING, Final, TypeAlias

from broker.core.identity.assertions import (
    ClientId,
    claimed_client,
    parse_client_id,
    verify_client_assertion,
)
from broker.core.identity.channel import (
    ChannelFacts,
    claimed_channel,
    verify_ending,
    verify_interaction_assertion,
    verify_turn,
)
from broker.core.identity.dpop import NonceRule, check_nonce, make_nonce, verify_dpop
from broker.core.identity.target import Target, origin_of
from broker.core.identity.tokens import (
    TOKEN_BYTES_MAX,
    ReadToken,
    Trust,
    access_token_claims,
    check_access_token,
    claimed_holder,
    instance_id,
    read_access_token,
    revocation_scopes,
    verify_access_token,
)
from broker.core.words.errors import ProofError, UnauthenticatedError
from broker.core.words.subject import Caller, SubjectKind

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime

    from broker.core.jwk import PublicKey
    from broker.core.words.identity import AccessToken, Proof

    Reader: TypeAlias = Callable[[str, Mapping[str, PublicKey]], ReadToken]

__all__ = [
    "ChannelFacts",
    "ClientId",
    "Credentials",
    "NonceRule",
    "Presented",
    "ReadToken",
    "Standing",
    "Target",
    "Trust",
    "access_token_claims",
    "admit",
    "check_access_token",
    "check_nonce",
    "claimed_channel",
    "claimed_client",
    "claimed_holder",
    "instance_id",
    "make_nonce",
    "origin_of",
    "parse_client_id",
    "read_access_token",
    "read_call",
    "read_credentials",
    "revocation_scopes",
    "verify_access_token",
    "verify_client_assertion",
    "verify_dpop",
    "verify_ending",
    "verify_interaction_assertion",
    "verify_turn",
]

DPOP: Final = "dpop"
BEARER: Final = "bearer"

_AUTHORIZATION = re.compile(r"([A-Za-z]+) +([A-Za-z0-9._~+/-]+=*)")


@dataclass(frozen=True, slots=True)
class Credentials:
    """What stood in the headers; ``scheme`` is dpop or bearer."""

    scheme: str
    token: str
    proof: str | None


@dataclass(frozen=True, slots=True)
class Presented:
    """A token and a proof that verify by themselves; nobody is admitted yet."""

    token: AccessToken
    proof: Proof | None


@dataclass(frozen=True, slots=True)
class Standing:
    """What was looked up about a caller: the answers that a signature cannot give.

    ``first_use`` is what the memory of proofs said; ``kids`` are the keys in the
    identity's signed row now, none if there is no active one; ``epochs`` are the
    current values of the token's scopes.
    """

    first_use: bool
    kids: frozenset[str]
    epochs: Mapping[str, int]


def read_credentials(
    authorization: Sequence[str], proofs: Sequence[str]
) -> Credentials:
    """Read the ``Authorization`` and ``DPoP`` headers; each may stand there once.

    Raises:
        UnauthenticatedError: No token, two tokens, or another scheme.
        ProofError: Two proofs, or none where the scheme asks for one.
    """
    if not authorization:
        msg = "a token is needed"
        raise UnauthenticatedError(msg, hint="get one at the token endpoint")
    match = _AUTHORIZATION.fullmatch(authorization[0])
    if len(authorization) > 1 or match is None or len(match[2]) > TOKEN_BYTES_MAX:
        msg = "the Authorization header must hold one DPoP or Bearer token"
        raise UnauthenticatedError(msg)
    scheme = match[1].lower()
    if scheme not in {DPOP, BEARER}:
        msg = "the scheme must be DPoP or Bearer"
        raise UnauthenticatedError(msg)
    if len(proofs) > 1:
        msg = "there must be exactly one DPoP header"
        raise ProofError(msg)
    if scheme == DPOP and not proofs:
        msg = "the DPoP header is missing"
        raise ProofError(msg, hint="prove the token's key (RFC 9449)")
    if scheme == BEARER and proofs:
        msg = "a DPoP proof needs the DPoP scheme"
        raise ProofError(msg, hint="send Authorization: DPoP")
    return Credentials(scheme, match[2], proofs[0] if proofs else None)


def read_call(
    credentials: Credentials,
    *,
    target: Target,
    trust: Trust,
    now: datetime,
    read: Reader | None = None,
) -> Presented:
    """Verify what a request carries, as far as the request alone can tell.

    Args:
        credentials: What stood in the headers.
        target: What was called.
        trust: What a token is compared with here.
        now: The moment of the request.
        read: `read_access_token`, or something that remembers its answers.

    Raises:
        UnauthenticatedError: The token is not ours, or its scheme is not its own: a
            bound token shown as Bearer, or an unbound one as DPoP.
        ProofError: The proof is not for this request, token and key.
    """
    found = (read or read_access_token)(credentials.token, trust.keys)
    token = check_access_token(found, trust=trust, now=now)
    bound = bool(token.jkt)
    if bound is not (credentials.scheme == DPOP):
        msg = "the token's type is not the scheme that it was sent with"
        raise UnauthenticatedError(msg, hint="use the token_type of the token response")
    if not bound:
        # The only Bearer tokens are an agent's, for one interaction. Anything else was
        # minted by mistake, and is worth nothing.
        if token.kind is not SubjectKind.AGENT or not token.grant.interaction_id:
            msg = "a Bearer token must be bound to one interaction"
            raise UnauthenticatedError(msg)
        return Presented(token, None)
    proof = verify_dpop(
        credentials.proof or "", target=target, now=now, token=credentials.token
    )
    if not compare_digest(proof.jkt, token.jkt):
        msg = "the proof is by another key than the token's"
        raise ProofError(msg)
    return Presented(token, proof)


def admit(presented: Presented, *, standing: Standing) -> Caller:
    """Admit a caller, if the proof is new and nothing has been revoked.

    Raises:
        ProofError: The proof was used before.
        UnauthenticatedError: The identity is not active, its key is gone, or an epoch
            has moved on.
    """
    token, proof = presented.token, presented.proof
    if proof is not None and not standing.first_use:
        msg = "the proof was used before"
        raise ProofError(msg, hint="make a new proof for every request")
    if token.client_kid not in standing.kids:
        msg = "the identity or its key is no longer active"
        raise UnauthenticatedError(msg)
    if not token.epochs.current_under(dict(standing.epochs)):
        msg = "the access token was revoked"
        raise UnauthenticatedError(msg)
    return Caller(
        kind=token.kind,
        subject_id=token.subject_id,
        tenant=token.tenant,
        environment=token.environment,
        token_id=token.token_id,
        grant_id=token.grant_id,
        instance_id=token.instance_id,
        kid=token.client_kid,
        proof_of_possession=proof is not None,
        expires_at=token.expires_at,
        epochs=token.epochs,
        grant=token.grant,
        principal=token.principal,
        actors=token.actors,
        counts=token.counts,
    )
