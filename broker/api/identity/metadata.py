"""Discovery: what clients learn about us before they have a token.

Source: RFC 8414 (authorization server), RFC 9728 (protected resource), RFC 7517 (JWKS),
RFC 9449 section 5.1, RFC 9396 section 10.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from broker.api.identity.desk import TOKEN_PATH
from broker.api.identity.resources import API, is_resource
from broker.api.identity.server import GRANTS
from broker.core.identity.grants import DETAILS_TYPE
from broker.core.identity.signing_keys import JWKS_AGE_S

if TYPE_CHECKING:
    from broker.api.identity.desk import Desk

METADATA_AGE_S: Final = JWKS_AGE_S

AUTHORIZE_PATH: Final = "/oauth/authorize"
REVOKE_PATH: Final = "/oauth/revoke"
INTROSPECT_PATH: Final = "/oauth/introspect"
JWKS_PATH: Final = "/oauth/jwks"

_METHODS = ["private_key_jwt"]
_ASSERTION_ALGORITHMS = ["ES256", "EdDSA", "Ed25519"]
_PROOF_ALGORITHMS = ["ES256", "EdDSA"]


def server_metadata(desk: Desk) -> dict[str, Any]:
    """Return the metadata of the authorization server.

    There is no grant that uses the authorization endpoint, and it refuses everything;
    it is named because the official MCP client reads no metadata without one.
    """
    issuer = desk.issuer
    return {
        "issuer": issuer,
        "authorization_endpoint": issuer + AUTHORIZE_PATH,
        "token_endpoint": issuer + TOKEN_PATH,
        "jwks_uri": issuer + JWKS_PATH,
        "revocation_endpoint": issuer + REVOKE_PATH,
        "introspection_endpoint": issuer + INTROSPECT_PATH,
        # Required, and never empty (RFC 8414 section 3.2): this one returns nothing.
        "response_types_supported": ["none"],
        "grant_types_supported": [grant.GRANT_TYPE for grant in GRANTS],
        "token_endpoint_auth_methods_supported": _METHODS,
        "token_endpoint_auth_signing_alg_values_supported": _ASSERTION_ALGORITHMS,
        "revocation_endpoint_auth_methods_supported": _METHODS,
        "revocation_endpoint_auth_signing_alg_values_supported": _ASSERTION_ALGORITHMS,
        "introspection_endpoint_auth_methods_supported": _METHODS,
        "introspection_endpoint_auth_signing_alg_values_supported": (
            _ASSERTION_ALGORITHMS
        ),
        "dpop_signing_alg_values_supported": _PROOF_ALGORITHMS,
        "authorization_details_types_supported": [DETAILS_TYPE],
    }


def resource_metadata(desk: Desk, path: str) -> dict[str, Any] | None:
    """Return the metadata of a resource, or None if there is none at this path.

    Without a path it is the tool API's. No scopes are listed: a client that copies all
    of them would ask for what it does not need.
    """
    resource = path or API
    if not is_resource(resource):
        return None
    return {
        "resource": desk.issuer + resource,
        "authorization_servers": [desk.issuer],
        "bearer_methods_supported": ["header"],
        "dpop_signing_alg_values_supported": _PROOF_ALGORITHMS,
        "dpop_bound_access_tokens_required": False,
        "authorization_details_types_supported": [DETAILS_TYPE],
        "resource_name": "Counterfoil",
    }
