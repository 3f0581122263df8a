"""The authorization server: Authlib's grant dispatch, our own checks.

Authlib decides which grant a request is for, registers how clients authenticate, and
shapes errors. It is synchronous and does no I/O here: the client's row is looked up
before the request is validated, and what must be remembered is remembered between that
and the signing of the token (see issue.py).

Of Authlib only the dispatch is used. Its own assertion check accepts lists of audiences
and ten-year assertions, and its grant logs the token at debug level.

Source: RFC 6749 section 4.4; RFC 7523; RFC 8707; RFC 9396; RFC 9449 section 5.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from authlib.oauth2.base import OAuth2Error
from authlib.oauth2.rfc6749 import AuthorizationServer, OAuth2Request
from authlib.oauth2.rfc6749.errors import InvalidRequestError, UnauthorizedClientError
from authlib.oauth2.rfc6749.grants import ClientCredentialsGrant
from authlib.oauth2.rfc6749.requests import BasicOAuth2Payload

from broker.api.identity.desk import TOKEN_PATH
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
from broker.core.words.subject import Grant, SubjectKind

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime

    from broker.api.identity.desk import Desk
    from broker.core.words.identity import ClientAssertion, Proof
    from broker.registry.clients import ClientRow

ASSERTION_TYPE: Final = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
CLIENT_CREDENTIALS: Final = "client_credentials"


class InvalidTargetError(OAuth2Error):  # type: ignore[misc]  # Authlib has no types
    """The resource is missing, unknown, or not for this client. Source: RFC 8707."""

    error = "invalid_target"


class InvalidScopeError(OAuth2Error):  # type: ignore[misc]
    """A scope is none of ours, or widens. Source: RFC 6749 section 5.2."""

    error = "invalid_scope"


class InvalidDetailsError(OAuth2Error):  # type: ignore[misc]
    """The authorization details are malformed, or widen. Source: RFC 9396."""

    error = "invalid_authorization_details"


class InvalidProofError(OAuth2Error):  # type: ignore[misc]
    """The DPoP proof is missing or wrong. Source: RFC 9449 section 5."""

    error = "invalid_dpop_proof"


class InvalidClientError(OAuth2Error):  # type: ignore[misc]
    """The client could not be authenticated. Source: RFC 6749 section 5.2."""

    error = "invalid_client"


@dataclass(frozen=True, slots=True)
class Plan:
    """A token request that holds by itself; what it asks for may still be refused."""

    assertion: ClientAssertion
    client: ClientRow
    audience: str
    grant: Grant
    proof: Proof | None


class TokenRequest(OAuth2Request):  # type: ignore[misc]
    """A parsed request, with the values that its checks need."""

    def __init__(
        self, desk: Desk, form: Mapping[str, str], *, proofs: Sequence[str] = ()
    ) -> None:
        """Keep the form; ``found`` is filled in with the row of ``claimed``."""
        super().__init__("POST", desk.issuer + TOKEN_PATH)
        self.payload = BasicOAuth2Payload(dict(form))
        self.desk = desk
        self.proofs = proofs
        self.now: datetime = desk.clock.now()
        self.found: ClientRow | None = None
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


class _Client:
    """A client as Authlib wants to see one."""

    def __init__(self, row: ClientRow, assertion: ClientAssertion) -> None:
        self.row = row
        self.assertion = assertion

    def check_endpoint_auth_method(self, method: str, _endpoint: str) -> bool:
        return method == "private_key_jwt"

    def check_grant_type(self, grant_type: str) -> bool:
        return grant_type == CLIENT_CREDENTIALS


class MachineGrant(ClientCredentialsGrant):  # type: ignore[misc]
    """A client's own authority, narrowed to one resource and what else it names."""

    TOKEN_ENDPOINT_AUTH_METHODS = ("private_key_jwt",)
    request: TokenRequest

    def validate_token_request(self) -> None:
        """Authenticate the client and check everything that it asks for."""
        client: _Client = self.authenticate_token_endpoint_client()
        if not client.check_grant_type(self.GRANT_TYPE):
            raise UnauthorizedClientError
        self.request.client = client
        form, row = self.request.form, client.row
        audience, bound = _resource(self.request, row)
        grant = _asked(form, bound)
        if grant != Grant() and row.client.kind is not SubjectKind.AGENT:
            msg = "only an agent's token can be narrowed"
            raise _widening(form)(msg)
        if not grant.tools <= row.tools:
            msg = "a tool that is not granted to this client"
            raise _widening(form)(msg)
        proof = _proof(self.request, row, grant)
        self.request.plan = Plan(client.assertion, row, audience, grant, proof)

    def create_token_response(self) -> tuple[int, dict[str, Any], list[Any]]:
        """Sign the token; everything was checked and remembered before."""
        return 200, self.request.sign(), list(self.TOKEN_RESPONSE_HEADER)


class TokenServer(AuthorizationServer):  # type: ignore[misc]
    """Authlib's dispatch, without its framework parts."""

    def __init__(self) -> None:
        """Register the one grant and the one way in which clients authenticate."""
        super().__init__()
        self.register_grant(MachineGrant)
        self.register_client_auth_method("private_key_jwt", _private_key_jwt)

    def query_client(self, client_id: str) -> None:
        """Refuse: clients are looked up before, by their assertion."""
        raise NotImplementedError(client_id)

    def create_oauth2_request(self, request: TokenRequest) -> TokenRequest:
        """Return the request, which was made for Authlib to begin with."""
        return request

    def send_signal(self, name: str, *_args: object, **_kwargs: object) -> None:
        """Tell nobody."""


def _private_key_jwt(_query: object, request: TokenRequest) -> _Client:
    assertion = request.authenticated()
    assert request.found is not None  # noqa: S101  (its key has just verified)
    return _Client(request.found, assertion)


def _resource(request: TokenRequest, row: ClientRow) -> tuple[str, Grant]:
    form = request.form
    resource = form.get("resource", "")
    if form.get("audience", resource) != resource:
        msg = "audience and resource differ"
        raise InvalidTargetError(msg)
    bound = grant_of(row.client.kind, resource, issuer=request.desk.issuer)
    if bound is None:
        msg = "resource must be exactly one that this client may use"
        raise InvalidTargetError(msg)
    return resource, bound


def _asked(form: Mapping[str, str], bound: Grant) -> Grant:
    """Return what the resource, the scope and the details leave together."""
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


def _widening(form: Mapping[str, str]) -> type[OAuth2Error]:
    named = "authorization_details" in form
    return InvalidDetailsError if named else InvalidScopeError


def _proof(request: TokenRequest, row: ClientRow, grant: Grant) -> Proof | None:
    """Return the proof, or None for an agent's token that one interaction binds."""
    if not request.proofs:
        if row.client.kind is SubjectKind.AGENT and grant.interaction_id:
            return None
        msg = "a DPoP proof is needed, or for an agent a grant for one interaction"
        raise InvalidProofError(msg)
    if len(request.proofs) > 1:
        msg = "there must be exactly one DPoP header"
        raise InvalidProofError(msg)
    target = Target("POST", request.desk.origins, TOKEN_PATH)
    try:
        return verify_dpop(request.proofs[0], target=target, now=request.now)
    except ProofError as error:
        raise InvalidProofError(error.detail) from None
