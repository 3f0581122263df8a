"""Issue, revoke and introspect tokens: what the OAuth endpoints do with a parsed form.

A token request goes: dispatch and checks (server.py, no I/O) → the proof is new → the
assertion is new → the interaction is this agent's → the entry is in the log → the token
is signed. If we die anywhere before the last step, a retry needs a new assertion, and
nothing else happened.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from authlib.oauth2.base import OAuth2Error
from authlib.oauth2.rfc6749.errors import UnsupportedGrantTypeError

from broker.api.identity.evidence import entry_of, note_refusal, token_entry
from broker.api.identity.grants.delegated import delegated
from broker.api.identity.grants.errors import InvalidClientError, NonceError
from broker.api.identity.grants.remember import arrived, the_interaction
from broker.api.identity.grants.request import Plan, TokenRequest
from broker.api.identity.grants.workload import WorkloadGrant, look_up
from broker.api.identity.server import GRANTS, TokenServer
from broker.core.authenticate import (
    access_token_claims,
    instance_id,
    revocation_scopes,
    verify_access_token,
)
from broker.core.identity.assertions import claimed_kid
from broker.core.identity.grants import write_detail
from broker.core.identity.tokens import ACCESS_TOKEN_TTL_S_MAX
from broker.core.jws import sign
from broker.core.words.entry import EntryKind
from broker.core.words.errors import UnauthenticatedError, UnavailableError
from broker.core.words.identity import ACCESS_TOKEN_TYP, AccessToken
from broker.core.words.subject import Epochs, SubjectKind

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from broker.api.identity.desk import Desk

RETRY_AFTER_S: Final = 2

_SERVER: Final = TokenServer()


@dataclass(frozen=True, slots=True)
class Answer:
    """A response of an OAuth endpoint."""

    status: int
    body: Mapping[str, Any]
    headers: Mapping[str, str] = field(default_factory=dict)


async def answer_token(
    desk: Desk, form: Mapping[str, str], *, proofs: Sequence[str]
) -> Answer:
    """Answer a request to the token endpoint."""
    request = TokenRequest(desk, form, proofs=proofs)
    return await _answered(request, "token", _token)


async def answer_revocation(desk: Desk, form: Mapping[str, str]) -> Answer:
    """Answer a request to the revocation endpoint. Source: RFC 7009."""
    return await _answered(TokenRequest(desk, form), "revoke", _revocation)


async def answer_introspection(desk: Desk, form: Mapping[str, str]) -> Answer:
    """Answer a request to the introspection endpoint. Source: RFC 7662."""
    return await _answered(TokenRequest(desk, form), "introspect", _introspection)


async def _answered(request: TokenRequest, where: str, handle: Any) -> Answer:  # noqa: ANN401
    desk = request.desk
    try:
        answer: Answer = await handle(request)
    except NonceError as error:
        # Not a refusal: it is how a client learns the nonce.
        return _refusal(error, {"DPoP-Nonce": error.nonce})
    except OAuth2Error as error:
        await note_refusal(
            desk,
            where=where,
            code=str(error.error),
            text=str(error.description or ""),
            claimed=_claimed_text(request),
            kid=claimed_kid(request.form.get("client_assertion", "")),
        )
        return _refusal(error)
    except UnavailableError as error:
        wait_s = error.retry_after_s or RETRY_AFTER_S
        body = {
            "error": "temporarily_unavailable",
            "error_description": "not able to decide now; nothing was issued",
        }
        return Answer(503, body, {"Retry-After": str(wait_s)})
    return answer


async def _token(request: TokenRequest) -> Answer:
    desk = request.desk
    # Dispatch comes first: an unknown grant is refused whoever asks.
    grant = _SERVER.get_token_grant(request)
    if isinstance(grant, WorkloadGrant):
        await look_up(request)
    else:
        request.found = await desk.identities.client(request.claimed())
    grant.validate_token_request()
    plan = request.plan
    assert plan is not None  # noqa: S101  (validation sets it or raises)
    token = await _granted(request, plan)
    # If we die before the next line, nothing was issued; after it, an entry stands for
    # a token that nobody got, and that ends by itself.
    parent = plan.exchanged.subject if plan.exchanged else None
    await desk.journal.record(token_entry(desk, token, parent=parent))
    request.sign = lambda: _response(request, token)
    status, body, _ = grant.create_token_response()
    return Answer(status, body)


async def _granted(request: TokenRequest, plan: Plan) -> AccessToken:
    """Remember what must be used once, and return the token to be signed.

    Raises:
        OAuth2Error: The proof or the assertion was used before, there are too many
            instances, or what it asks for is not to be had.
    """
    if plan.exchanged is not None:
        return await delegated(request, plan, plan.exchanged)
    desk, client = request.desk, plan.client.client
    jkt = plan.proof.jkt if plan.proof else ""
    instance = instance_id(str(client), jkt=jkt or plan.assertion.kid)
    grant_id, most = desk.ids.new(), plan.grant.count_max
    scopes = revocation_scopes(
        str(client), environment=desk.environment, instance=instance, grant=grant_id
    )
    epochs = await arrived(request, plan, instance=instance, scopes=scopes)
    interaction = None
    if client.kind is SubjectKind.AGENT:
        wanted = plan.grant.interaction_id
        interaction = await the_interaction(request, wanted, agent_id=client.subject_id)
    now = request.now.replace(microsecond=0)
    return AccessToken(
        kind=client.kind,
        subject_id=client.subject_id,
        audience=plan.audience,
        token_id=desk.ids.new(),
        grant_id=grant_id,
        instance_id=instance,
        client_kid=plan.assertion.kid,
        jkt=jkt,
        tenant=desk.tenant,
        environment=desk.environment,
        issued_at=now,
        expires_at=now + timedelta(seconds=ACCESS_TOKEN_TTL_S_MAX),
        epochs=Epochs(tuple((s, epochs.get(s, 0)) for s in sorted(scopes))),
        grant=plan.grant,
        policy=await desk.identities.policy_version(),
        customer_ref=interaction.customer_ref if interaction else "",
        may_act=plan.may_act,
        counts=((grant_id, most),) if most is not None else (),
    )


def _response(request: TokenRequest, token: AccessToken) -> dict[str, Any]:
    desk = request.desk
    claims = access_token_claims(token, issuer=desk.issuer)
    body: dict[str, Any] = {
        "access_token": sign(claims, key=desk.keys.token, typ=ACCESS_TOKEN_TYP),
        "token_type": "DPoP" if token.jkt else "Bearer",
        "expires_in": int((token.expires_at - token.issued_at).total_seconds()),
    }
    if "scope" in request.form:
        body["scope"] = request.form["scope"]
    if "authorization_details" in request.form or token.actors:
        body["authorization_details"] = [write_detail(token.grant)]
    return body


async def _revocation(request: TokenRequest) -> Answer:
    client = await _authenticated(request)
    token = _readable(request)
    # A token that is not this client's is left alone; the answer does not tell.
    if token is not None and token.subject == client:
        # Of a chain this link and what hangs on it, not whoever lent the authority.
        scope = f"grant:{token.delegation_id or token.grant_id}"
        detail = {
            "subject": client,
            "by": client,
            "scopes": [scope],
            "token": token.token_id,
            "kid": token.client_kid,
        }
        entry = entry_of(request.desk, EntryKind.REVOCATION, detail)
        await request.desk.registry.revoke([scope], entry)
    return Answer(200, {})


async def _introspection(request: TokenRequest) -> Answer:
    client = await _authenticated(request)
    token = _readable(request)
    inactive = Answer(200, {"active": False})
    if token is None:
        return inactive
    if client != token.subject and request.claimed().kind is not SubjectKind.SERVICE:
        return inactive
    kids, epochs = await request.desk.identities.standing(token)
    if token.client_kid not in kids or not token.epochs.current_under(dict(epochs)):
        return inactive
    claims = access_token_claims(token, issuer=request.desk.issuer)
    told = ("iss", "sub", "client_id", "aud", "iat", "nbf", "exp", "jti", "cnf", "act")
    body = {name: claims[name] for name in told if name in claims}
    kind = "DPoP" if token.jkt else "Bearer"
    return Answer(200, {"active": True, "token_type": kind} | body)


async def _authenticated(request: TokenRequest) -> str:
    """Authenticate the client of another endpoint than the token endpoint."""
    desk = request.desk
    request.found = await desk.identities.client(request.claimed())
    assertion = request.authenticated()
    if not await desk.replay.first_ever(assertion.one_use):
        msg = "the client assertion was used before"
        raise InvalidClientError(msg)
    return assertion.subject


def _readable(request: TokenRequest) -> AccessToken | None:
    """Return the token of a request if it is one of ours and has not ended."""
    text = request.form.get("token", "")
    # Whatever resource it is for: it is read here, and opens nothing.
    trust = replace(request.desk.trust(), audiences=None)
    try:
        return verify_access_token(text, trust=trust, now=request.now)
    except UnauthenticatedError:
        return None


def _claimed_text(request: TokenRequest) -> str:
    try:
        return str(request.claimed())
    except OAuth2Error:
        return ""


def _refusal(error: OAuth2Error, headers: Mapping[str, str] | None = None) -> Answer:
    status, body, _ = error()
    # Authlib leaves it out here; what it would say repeats the request.
    if isinstance(error, UnsupportedGrantTypeError):
        known = ", ".join(grant.GRANT_TYPE for grant in GRANTS)
        body["error_description"] = f"the grants are {known}"
    return Answer(status, body, headers or {})
