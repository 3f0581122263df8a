"""From a request to a Caller: verify, remember, look up, admit.

The questions are asked in this order so that nobody without a valid token can fill the
memory of proofs, and nobody at all can use up somebody else's proof.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from broker.api.identity.evidence import note_refused_call
from broker.api.identity.resources import accepted, resource_path
from broker.core.authenticate import (
    Standing,
    Target,
    admit,
    check_nonce,
    read_call,
    read_credentials,
)
from broker.core.words.errors import (
    ForbiddenError,
    IdentityError,
    NonceNeededError,
    ProofError,
    StoreUnavailableError,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from broker.api.identity.desk import Desk
    from broker.core.words.identity import Proof
    from broker.core.words.subject import Caller, SubjectKind

MOVES_MAX: Final = 4
"""How often the epoch may move under one request before we give up."""

ESTABLISH_S_MAX: Final = 4.0
"""Longest that it may take to know who calls; parts that are down add up."""

PRM_PATH: Final = "/.well-known/oauth-protected-resource"


async def establish(
    desk: Desk,
    *,
    kind: SubjectKind,
    target: Target,
    authorization: Sequence[str],
    proofs: Sequence[str],
) -> Caller:
    """Return who called, or refuse.

    Raises:
        IdentityError: With the challenge that belongs to this resource.
        UnavailableError: It cannot be decided now.
    """
    try:
        async with asyncio.timeout(ESTABLISH_S_MAX):
            return await _establish(
                desk,
                kind=kind,
                target=target,
                authorization=authorization,
                proofs=proofs,
            )
    except TimeoutError as error:
        msg = "what knows who calls does not answer"
        hint = "try again; nothing was done"
        raise StoreUnavailableError(msg, hint=hint, retry_after_s=2) from error
    except IdentityError as error:
        error.headers["WWW-Authenticate"] = challenge(desk, target.path, error)
        # A call without any token is a client that looks for the way in.
        if authorization and not isinstance(error, NonceNeededError):
            shown = authorization[0].rpartition(" ")[2]
            await note_refused_call(desk, error, where=target.path[:200], shown=shown)
        raise


async def first_proof(desk: Desk, proof: Proof, *, now: datetime) -> bool:
    """Return whether a proof is used first, under the nonce epoch of now.

    Raises:
        NonceNeededError: It has no nonce where one is demanded, or an old one.
        UnavailableError: Nobody remembers now.
    """
    for _ in range(MOVES_MAX):
        rule = await desk.proofs.rule()
        try:
            check_nonce(proof, rule=rule, secret=desk.keys.nonce_secret, now=now)
        except NonceNeededError:
            # Another replica may have moved on, and this nonce may be its.
            if not proof.nonce or await desk.proofs.refresh() == rule:
                raise
            continue
        first = await desk.proofs.first_proof(proof.one_use, epoch=rule.epoch)
        if first is not None:
            return first
    msg = "the memory of proofs is moving"
    raise StoreUnavailableError(msg, hint="try again; nothing was done")


def challenge(desk: Desk, path: str, error: IdentityError) -> str:
    """Return the challenge of a refusal.

    Source: RFC 9449 section 7.1; RFC 9728 section 5.1.
    """
    metadata = f'resource_metadata="{desk.issuer}{PRM_PATH}{resource_path(path)}"'
    said = ""
    match error:
        case NonceNeededError():
            said = 'error="use_dpop_nonce", '
        case ProofError():
            said = 'error="invalid_dpop_proof", '
        case ForbiddenError():
            said = 'error="insufficient_scope", '
        case _:
            said = 'error="invalid_token", '
    return f'DPoP {said}algs="ES256 EdDSA", {metadata}, Bearer {metadata}'


async def _establish(
    desk: Desk,
    *,
    kind: SubjectKind,
    target: Target,
    authorization: Sequence[str],
    proofs: Sequence[str],
) -> Caller:
    credentials = read_credentials(authorization, proofs)
    now = desk.clock.now()
    trust = desk.trust(*accepted(kind, target.path, issuer=desk.issuer))
    presented = read_call(
        credentials, target=target, trust=trust, now=now, read=desk.tokens.read
    )
    if presented.token.kind is not kind:
        msg = "an identity of another kind belongs here"
        raise ForbiddenError(msg)
    first_use = True
    if presented.proof is not None:
        first_use = await first_proof(desk, presented.proof, now=now)
    kids, epochs = await desk.identities.standing(presented.token)
    return admit(
        presented, standing=Standing(first_use=first_use, kids=kids, epochs=epochs)
    )
