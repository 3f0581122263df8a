"""OAuth errors that Authlib does not have, each with the RFC that names it."""

from __future__ import annotations

from authlib.oauth2.base import OAuth2Error


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


class InvalidGrantError(OAuth2Error):  # type: ignore[misc]
    """What is to be exchanged does not hold. Source: RFC 6749 section 5.2."""

    error = "invalid_grant"


class NonceError(OAuth2Error):  # type: ignore[misc]
    """The proof must carry a nonce. Source: RFC 9449 section 8."""

    error = "use_dpop_nonce"

    def __init__(self, nonce: str) -> None:
        """Keep the nonce to use."""
        super().__init__("the DPoP proof must carry this nonce")
        self.nonce = nonce


class CrowdedError(OAuth2Error):  # type: ignore[misc]
    """Too many different keys in too short a time."""

    error = "temporarily_unavailable"
    status_code = 429
