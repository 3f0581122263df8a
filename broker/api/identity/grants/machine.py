"""``client_credentials``: a client's own authority. RFC 6749 section 4.4."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from authlib.oauth2.rfc6749.grants import ClientCredentialsGrant

from broker.api.identity.grants.errors import InvalidProofError
from broker.api.identity.grants.request import (
    CLIENT_CREDENTIALS,
    Client,
    Plan,
    TokenRequest,
    asked_of,
    proof_of,
    resource_of,
    widening,
)
from broker.api.identity.resources import delegate_of
from broker.core.words.subject import Grant, SubjectKind

if TYPE_CHECKING:
    from broker.core.words.identity import Proof
    from broker.registry.clients import ClientRow


class MachineGrant(ClientCredentialsGrant):  # type: ignore[misc]
    """A client's own authority, narrowed to one resource and what else it names."""

    GRANT_TYPE = CLIENT_CREDENTIALS
    TOKEN_ENDPOINT_AUTH_METHODS = ("private_key_jwt",)
    request: TokenRequest

    def validate_token_request(self) -> None:
        """Authenticate the client and check everything that it asks for."""
        client: Client = self.authenticate_token_endpoint_client()
        self.request.client = client
        form, row = self.request.form, client.row
        audience, bound = resource_of(self.request, row.client.kind)
        grant = asked_of(form, bound)
        may_act = delegate_of(audience, issuer=self.request.desk.issuer)
        if grant != Grant() and not (row.client.kind is SubjectKind.AGENT or may_act):
            msg = "only what an agent does can be narrowed"
            raise widening(form)(msg)
        if row.client.kind is SubjectKind.AGENT and not grant.tools <= row.tools:
            msg = "a tool that is not granted to this client"
            raise widening(form)(msg)
        self.request.plan = Plan(
            client.assertion,
            row,
            audience,
            grant,
            _proof(self.request, row, grant),
            may_act=may_act,
        )

    def create_token_response(self) -> tuple[int, dict[str, Any], list[Any]]:
        """Sign the token; everything was checked and remembered before."""
        return 200, self.request.sign(), list(self.TOKEN_RESPONSE_HEADER)


def _proof(request: TokenRequest, row: ClientRow, grant: Grant) -> Proof | None:
    """Return the proof, or None for an agent's token that one interaction binds."""
    if not request.proofs:
        if row.client.kind is SubjectKind.AGENT and grant.interaction_id:
            return None
        msg = "a DPoP proof is needed, or for an agent a grant for one interaction"
        raise InvalidProofError(msg)
    return proof_of(request)
