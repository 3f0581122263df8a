"""A token request, and the checks that every grant makes of it.

Nothing here does I/O: the client's row is looked up before, and what must be remembered
is remembered after.

Source: RFC 6749 section 4.4; RFC 7523; RFC 8707; RFC 9396; RFC 9449 section 5.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from authlib.oauth2.rfc6749 import OAuth2Request
from authlib.oauth2.rfc6749.errors import InvalidRequestError
from authlib.oauth2.rfc6749.requests import BasicOAuth2Payload

from broker.api.identity.desk import TOKEN_PATH
from broker.api.identity.grants.errors import (
    InvalidClientError,
    InvalidDetailsError,
    InvalidProofError,
    InvalidScopeError,
    InvalidTargetError,
)
from broker.api.identity.resources import grant_of
from broker.core.authenticate import (
    ClientId,
    Target,
    claimed_client,
    verify_client_assertion,
    verify_dpop,
)
from broker.core.identity.grants import (
    GrantError,
    narrow,
    parse_details,
    parse_scope,
)
from broker.core.words.errors import ProofError, UnauthenticatedError
from broker.core.words.subject import Grant

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime

    from authlib.oauth2.base import OAuth2Error

    from broker.api.identity.desk import Desk
    from broker.core.identity.workload import Federation, IssuerKey
    from broker.core.words.identity import AccessToken, ClientAssertion, Proof
    from broker.core.words.subject import SubjectKind
    from broker.registry.clients import ClientRow

ASSERTION_TYPE: Final = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
CLIENT_CREDENTIALS: Final = "client_credentials"
TOKEN_EXCHANGE: Final = "urn:ietf:params:oauth:grant-type:token-exchange"  # noqa: S105


@dataclass(frozen=True, slots=True)
class Exchanged:
    """What a delegated token is to be made from, verified by itself.

    ``subject`` is the token whose authority passes on, None where that is the customer
    of ``interaction_id``; ``actor`` the token that says who asks.
    """

    subject: AccessToken | None
    actor: AccessToken | None
    interaction_id: str = ""


@dataclass(frozen=True, slots=True)
class Plan:
    """A token request that holds by itself; what it asks for may still be refused."""

    assertion: ClientAssertion
    client: ClientRow
    audience: str
    grant: Grant
    proof: Proof | None
    may_act: str = ""
    exchanged: Exchanged | None = None


class TokenRequest(OAuth2Request):  # type: ignore[misc]  # Authlib has no types
    """A parsed request, with the values that its checks need."""

    def __init__(
        self, desk: Desk, form: Mapping[str, str], *, proofs: Sequence[str] = ()
    ) -> None:
        """Keep the form; what is looked up for the request is filled in later."""
        super().__init__("POST", desk.issuer + TOKEN_PATH)
        self.payload = BasicOAuth2Payload(dict(form))
        self.desk = desk
        self.proofs = proofs
        self.now: datetime = desk.clock.now()
        self.found: ClientRow | None = None
        self.federation: Federation | None = None
        self.issuer_key: IssuerKey | None = None
        self.plan: Plan | None = None
        self.sign: Callable[[], dict[str, Any]] = dict

    @property
    def form(self) -> dict[str, str]:
        """Return the fields."""
        form: dict[str, str] = self.payload.data
        return form

    def claimed(self) -> ClientId:
        """Return who the assertion says it is from; nothing is verified.

        Raises:
            OAuth2Error: Another way to authenticate, two ways, or no assertion.
        """
        form = self.form
        if "client_secret" in form:
            msg = "this client authenticates with private_key_jwt alone"
            raise InvalidRequestError(msg)
        if form.get("client_assertion_type") != ASSERTION_TYPE:
            msg = f"client_assertion_type must be {ASSERTION_TYPE}"
            raise InvalidClientError(msg)
        try:
            claimed = claimed_client(form.get("client_assertion", ""))
        except UnauthenticatedError as error:
            raise InvalidClientError(error.detail) from None
        if form.get("client_id", str(claimed)) != str(claimed):
            msg = "client_id is not the client of the assertion"
            raise InvalidClientError(msg)
        return claimed

    def authenticated(self) -> ClientAssertion:
        """Verify the assertion with the keys that were found.

        Raises:
            OAuth2Error: It does not hold.
        """
        try:
            return verify_client_assertion(
                self.form["client_assertion"],
                client=self.claimed(),
                keys=self.found.keys if self.found else (),
                issuer=self.desk.issuer,
                now=self.now,
            )
        except UnauthenticatedError as error:
            raise InvalidClientError(error.detail) from None


class Client:
    """A client as Authlib wants to see one."""

    def __init__(self, row: ClientRow, assertion: ClientAssertion) -> None:
        """Keep its row and how it authenticated."""
        self.row = row
        self.assertion = assertion

    def check_endpoint_auth_method(self, method: str, _endpoint: str) -> bool:
        """Return whether a client may authenticate like this."""
        return method == "private_key_jwt"


def private_key_jwt(_query: object, request: TokenRequest) -> Client:
    """Authenticate the client of a request, for Authlib."""
    assertion = request.authenticated()
    assert request.found is not None  # noqa: S101  (its key has just verified)
    return Client(request.found, assertion)


def resource_of(request: TokenRequest, kind: SubjectKind) -> tuple[str, Grant]:
    """Return the one resource that is asked for, and what naming it narrows.

    Raises:
        OAuth2Error: It is missing, unknown, or not for such a client.
    """
    form = request.form
    resource = form.get("resource", "")
    if form.get("audience", resource) != resource:
        msg = "audience and resource differ"
        raise InvalidTargetError(msg)
    bound = grant_of(kind, resource, issuer=request.desk.issuer)
    if bound is None:
        msg = "resource must be exactly one that this client may use"
        raise InvalidTargetError(msg)
    return resource, bound


def asked_of(form: Mapping[str, str], bound: Grant) -> Grant:
    """Return what the resource, the scope and the details leave together.

    Raises:
        OAuth2Error: They cannot be read, or leave nothing.
    """
    try:
        grant = narrow(bound, parse_scope(form.get("scope", "")))
    except GrantError as error:
        raise InvalidScopeError(str(error)) from None
    try:
        if "authorization_details" in form:
            grant = narrow(grant, parse_details(form["authorization_details"]))
    except GrantError as error:
        raise InvalidDetailsError(str(error)) from None
    return grant


def widening(form: Mapping[str, str]) -> type[OAuth2Error]:
    """Return the error that belongs to the field with which too much was asked."""
    named = "authorization_details" in form
    return InvalidDetailsError if named else InvalidScopeError


def proof_of(request: TokenRequest) -> Proof:
    """Return the one DPoP proof of a request, for the token endpoint.

    Raises:
        OAuth2Error: There is none, more than one, or it does not hold.
    """
    if not request.proofs:
        msg = "a DPoP proof is needed"
        raise InvalidProofError(msg)
    if len(request.proofs) > 1:
        msg = "there must be exactly one DPoP header"
        raise InvalidProofError(msg)
    target = Target("POST", request.desk.origins, TOKEN_PATH)
    try:
        return verify_dpop(request.proofs[0], target=target, now=request.now)
    except ProofError as error:
        raise InvalidProofError(error.detail) from None
