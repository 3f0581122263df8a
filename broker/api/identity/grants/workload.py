"""``jwt-bearer``: a workload gets an agent's token by what its own issuer signed.

The agent's signed row names the issuers and subjects whose word counts (RFC 7523
section 2.1). The token is bound to the key that proves the request, so that whoever
finds an assertion in a log has no token by it alone. What is wrong with an assertion is
not told: an unknown agent, issuer, subject and key are one answer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from authlib.oauth2.rfc6749.errors import InvalidRequestError
from authlib.oauth2.rfc6749.grants import BaseGrant, TokenEndpointMixin

from broker.api.identity.grants.errors import InvalidGrantError
from broker.api.identity.grants.request import (
    Plan,
    TokenRequest,
    asked_of,
    proof_of,
    resource_of,
    widening,
)
from broker.core.authenticate import parse_client_id
from broker.core.identity.claims import one_use
from broker.core.identity.workload import (
    claimed_issuer,
    claimed_key,
    verify_workload,
)
from broker.core.words.errors import UnauthenticatedError
from broker.core.words.identity import ClientAssertion
from broker.core.words.subject import SubjectKind

if TYPE_CHECKING:
    from broker.core.identity.workload import Workload

JWT_BEARER: Final = "urn:ietf:params:oauth:grant-type:jwt-bearer"
_REFUSED = "the assertion is not acceptable"


class WorkloadGrant(BaseGrant, TokenEndpointMixin):  # type: ignore[misc]
    """An agent's own authority, for a process that another issuer vouches for."""

    GRANT_TYPE = JWT_BEARER
    request: TokenRequest

    def validate_token_request(self) -> None:
        """Verify the assertion, and check everything that is asked for."""
        request = self.request
        row, form = request.found, request.form
        workload = _verified(request)
        assert row is not None  # noqa: S101  (it holds the federation)
        audience, bound = resource_of(request, SubjectKind.AGENT)
        grant = asked_of(form, bound)
        if not grant.tools <= row.tools:
            msg = "a tool that is not granted to this agent"
            raise widening(form)(msg)
        proof = proof_of(request)
        # One that may be shown again is used once with each proof.
        use = workload.one_use or one_use(
            "workload",
            key=workload.federation.kid,
            jti=proof.one_use.name.hex(),
            until=proof.one_use.until,
        )
        assertion = ClientAssertion(
            subject=str(row.client),
            kid=workload.federation.kid,
            issued_at=None,
            expires_at=use.until,
            one_use=use,
        )
        request.plan = Plan(assertion, row, audience, grant, proof)

    def create_token_response(self) -> tuple[int, dict[str, Any], list[Any]]:
        """Sign the token; everything was checked and remembered before."""
        return 200, self.request.sign(), list(self.TOKEN_RESPONSE_HEADER)


async def look_up(request: TokenRequest) -> None:
    """Find the agent's row, whose word would count for it, and the issuer's key.

    Raises:
        OAuth2Error: The request is of another form.
    """
    form = request.form
    if {"client_assertion", "client_assertion_type", "client_secret"} & form.keys():
        msg = "the assertion is the only way to authenticate with this grant"
        raise InvalidRequestError(msg)
    assertion = form.get("assertion", "")
    if not assertion or not form.get("client_id"):
        msg = "assertion and client_id are needed"
        raise InvalidRequestError(msg)
    try:
        client = parse_client_id(form["client_id"])
        named, kid = claimed_issuer(assertion), claimed_key(assertion)
    except UnauthenticatedError:
        raise InvalidGrantError(_REFUSED) from None
    request.found = await request.desk.identities.client(client)
    trusted = request.found.federations if request.found else ()
    for federation in trusted:
        if (federation.issuer, federation.subject) == named:
            request.federation = federation
            request.issuer_key = await request.desk.issuers.key(federation, kid)


def _verified(request: TokenRequest) -> Workload:
    try:
        return verify_workload(
            request.form["assertion"],
            federation=request.federation,
            key=request.issuer_key,
            now=request.now,
        )
    except UnauthenticatedError:
        raise InvalidGrantError(_REFUSED) from None
