"""What a token request uses up, and what is looked up for it.

If we die after any of these, a retry needs a new assertion, and nothing else happened.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from broker.api.identity.front import first_proof
from broker.api.identity.grants.errors import (
    CrowdedError,
    InvalidClientError,
    InvalidDetailsError,
    InvalidProofError,
    InvalidScopeError,
    InvalidTargetError,
    NonceError,
)
from broker.core.words.errors import NonceNeededError
from broker.registry.records import Arrival

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from broker.api.identity.grants.request import Plan, TokenRequest
    from broker.core.words.subject import Interaction


async def arrived(
    request: TokenRequest, plan: Plan, *, instance: str, scopes: Sequence[str]
) -> Mapping[str, int]:
    """Use proof and assertion up, and return the epochs of these scopes now.

    Raises:
        OAuth2Error: One of them was used before, the instance was ended, or there are
            too many.
    """
    desk, proof = request.desk, plan.proof
    if proof is not None:
        try:
            first = await first_proof(desk, proof, now=request.now)
        except NonceNeededError as error:
            raise NonceError(error.nonce) from None
        if not first:
            msg = "the DPoP proof was used before"
            raise InvalidProofError(msg)
    admission = await desk.identities.admit(
        Arrival(
            subject=str(plan.client.client),
            kid=plan.assertion.kid,
            instance_id=instance,
            jkt=proof.jkt if proof else plan.assertion.kid,
            one_use=plan.assertion.one_use,
            scopes=tuple(scopes),
        )
    )
    if admission.word == "replayed":
        msg = "the client assertion was used before"
        raise InvalidClientError(msg)
    if admission.word != "ok":
        msg = "too many instances of this client within an hour"
        raise CrowdedError(msg)
    if admission.epochs.get(f"instance:{instance}", 0):
        # Nothing else raises this scope: the key of a copy that was ended stays ended.
        msg = "this running copy was ended"
        raise InvalidClientError(msg)
    return admission.epochs


async def the_interaction(
    request: TokenRequest, wanted: str, *, agent_id: str
) -> Interaction | None:
    """Return the interaction of a bound token; unknown and foreign are the same.

    Args:
        request: The token request.
        wanted: Its id, empty for a token that none binds.
        agent_id: Whose it has to be.

    Raises:
        OAuth2Error: There is no such open one.
    """
    if not wanted:
        return None
    found = await request.desk.interactions.interaction(wanted)
    now = request.desk.clock.now()
    if found is None or found.agent_id != agent_id or found.ended(now):
        msg = "there is no such open interaction for this client"
        if "authorization_details" in request.form:
            raise InvalidDetailsError(msg)
        if "scope" in request.form:
            raise InvalidScopeError(msg)
        raise InvalidTargetError(msg)
    return found
