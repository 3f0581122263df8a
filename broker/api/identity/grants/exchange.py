"""Token exchange: an agent acts on the authority of another party. RFC 8693.

Three subjects can lend authority:

- another agent, by its own access token (or a delegated one). The requester shows its
  own token beside it, bound to the key that proves this very request.
- an employee, by a token that they asked for at ``/delegation/<agent>``: it is good for
  nothing else, and only that agent may exchange it.
- the customer of an interaction, which the channel opened for this agent.

A request is checked here as far as it can be by itself; what is known now about
everybody in the chain is looked up in delegated.py.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from authlib.oauth2.rfc6749.errors import InvalidRequestError, UnauthorizedClientError
from authlib.oauth2.rfc6749.grants import BaseGrant, TokenEndpointMixin

from broker.api.identity.grants.errors import InvalidGrantError, InvalidTargetError
from broker.api.identity.grants.request import (
    TOKEN_EXCHANGE,
    Client,
    Exchanged,
    Plan,
    TokenRequest,
    asked_of,
    proof_of,
    resource_of,
)
from broker.core.authenticate import verify_access_token
from broker.core.identity.grants import INTERACTION_ID
from broker.core.words.errors import UnauthenticatedError
from broker.core.words.subject import SubjectKind

if TYPE_CHECKING:
    from collections.abc import Mapping

    from broker.core.words.identity import AccessToken, Proof

ACCESS_TOKEN_TYPE: Final = "urn:ietf:params:oauth:token-type:access_token"  # noqa: S105
INTERACTION_TYPE: Final = "urn:counterfoil:token-type:interaction"


class ExchangeGrant(BaseGrant, TokenEndpointMixin):  # type: ignore[misc]
    """One party's authority, narrowed and lent to an agent."""

    GRANT_TYPE = TOKEN_EXCHANGE
    TOKEN_ENDPOINT_AUTH_METHODS = ("private_key_jwt",)
    request: TokenRequest

    def validate_token_request(self) -> None:
        """Authenticate the client and check everything that it shows and asks for."""
        client: Client = self.authenticate_token_endpoint_client()
        self.request.client = client
        form, row = self.request.form, client.row
        if row.client.kind is not SubjectKind.AGENT:
            raise UnauthorizedClientError
        audience, bound = resource_of(self.request, SubjectKind.AGENT)
        grant = asked_of(form, bound)
        # The child's token is always bound to the child's own key.
        proof = proof_of(self.request)
        _check_asked_type(form)
        if form.get("subject_token_type") == INTERACTION_TYPE:
            exchanged = _of_customer(form)
        else:
            exchanged = _of_token(self.request, str(row.client), proof)
        self.request.plan = Plan(
            client.assertion, row, audience, grant, proof, exchanged=exchanged
        )

    def create_token_response(self) -> tuple[int, dict[str, Any], list[Any]]:
        """Sign the token; everything was checked and remembered before."""
        body = self.request.sign() | {"issued_token_type": ACCESS_TOKEN_TYPE}
        return 200, body, list(self.TOKEN_RESPONSE_HEADER)


def _check_asked_type(form: Mapping[str, str]) -> None:
    if form.get("requested_token_type", ACCESS_TOKEN_TYPE) != ACCESS_TOKEN_TYPE:
        msg = "an exchange gives an access token and nothing else"
        raise InvalidRequestError(msg)
    if not form.get("subject_token"):
        msg = "subject_token is missing"
        raise InvalidRequestError(msg)
    if ("actor_token" in form) is not ("actor_token_type" in form):
        msg = "actor_token and actor_token_type belong together"
        raise InvalidRequestError(msg)


def _of_customer(form: Mapping[str, str]) -> Exchanged:
    """Return the interaction whose customer is acted for; its rows are looked up."""
    if not INTERACTION_ID.fullmatch(form["subject_token"]):
        msg = "subject_token is no interaction"
        raise InvalidRequestError(msg)
    if "actor_token" in form:
        msg = "an interaction belongs to one agent: no actor_token is needed"
        raise InvalidRequestError(msg)
    return Exchanged(None, None, form["subject_token"])


def _of_token(request: TokenRequest, client: str, proof: Proof) -> Exchanged:
    form = request.form
    if form.get("subject_token_type") != ACCESS_TOKEN_TYPE:
        msg = f"subject_token_type is {ACCESS_TOKEN_TYPE} or {INTERACTION_TYPE}"
        raise InvalidRequestError(msg)
    subject = _token(request, "subject_token")
    if subject.kind is SubjectKind.PERSON:
        return _of_person(request, subject, client)
    if subject.kind is not SubjectKind.AGENT or not subject.jkt:
        # A Bearer token lends nothing: whoever finds one could have it renewed.
        msg = "only a sender-constrained token of an agent or person can be exchanged"
        raise InvalidGrantError(msg)
    if form.get("actor_token_type") != ACCESS_TOKEN_TYPE:
        msg = "another agent's token needs your own beside it, as actor_token"
        raise InvalidRequestError(msg)
    actor = _token(request, "actor_token")
    mine = actor.kind is SubjectKind.AGENT and actor.subject == client
    # An actor token that is delegated itself would join two chains.
    if not mine or actor.actors or actor.may_act or actor.jkt != proof.jkt:
        msg = "actor_token must be your own, bound to the key of this proof"
        raise InvalidGrantError(msg)
    return Exchanged(subject, actor)


def _of_person(request: TokenRequest, subject: AccessToken, client: str) -> Exchanged:
    """Take an employee's token, which names the one agent that may exchange it."""
    if "actor_token" in request.form:
        msg = "a person's token names its agent: no actor_token is needed"
        raise InvalidRequestError(msg)
    if subject.may_act != client:
        msg = "this token was not made for you to act with"
        raise InvalidGrantError(msg)
    return Exchanged(subject, None)


def _token(request: TokenRequest, name: str) -> AccessToken:
    """Return a token of ours that has not ended, whatever it opens."""
    trust = replace(request.desk.trust(), audiences=None)
    try:
        return verify_access_token(request.form[name], trust=trust, now=request.now)
    except UnauthenticatedError as error:
        msg = f"{name}: {error.detail}"
        raise InvalidGrantError(msg) from None


def check_audience(subject: AccessToken, audience: str, *, issuer: str) -> None:
    """Require that a child stays at the resource that its parent is for.

    A person's token is for delegation alone, and lends whatever its agent may use.

    Raises:
        InvalidTargetError: It would go elsewhere.
    """
    if subject.kind is SubjectKind.PERSON:
        return
    fixed = {f"{issuer}/v1", f"{issuer}/mcp"}
    if audience == subject.audience or {audience, subject.audience} <= fixed:
        return
    # Within one interaction is narrower than anywhere at the same door.
    if subject.audience in fixed and audience.startswith(f"{issuer}/mcp/"):
        return
    msg = "resource must not be wider than the subject token's"
    raise InvalidTargetError(msg)
