"""The authorization server: Authlib's grant dispatch, our own checks.

Authlib decides which grant a request is for, registers how clients authenticate, and
shapes errors. It is synchronous and does no I/O here: the client's row is looked up
before the request is validated, and what must be remembered is remembered between that
and the signing of the token (see issue.py).

Of Authlib only the dispatch is used. Its own assertion check accepts lists of audiences
and ten-year assertions, and its grant logs the token at debug level.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from authlib.oauth2.rfc6749 import AuthorizationServer

from broker.api.identity.grants.exchange import ExchangeGrant
from broker.api.identity.grants.machine import MachineGrant
from broker.api.identity.grants.request import private_key_jwt
from broker.api.identity.grants.workload import WorkloadGrant

if TYPE_CHECKING:
    from broker.api.identity.grants.request import TokenRequest

GRANTS: Final = (MachineGrant, ExchangeGrant, WorkloadGrant)


class TokenServer(AuthorizationServer):  # type: ignore[misc]
    """Authlib's dispatch, without its framework parts."""

    def __init__(self) -> None:
        """Register the grants, and the one way in which clients authenticate."""
        super().__init__()
        for grant in GRANTS:
            self.register_grant(grant)
        self.register_client_auth_method("private_key_jwt", private_key_jwt)

    def query_client(self, client_id: str) -> None:
        """Refuse: clients are looked up before, by their assertion."""
        raise NotImplementedError(client_id)

    def create_oauth2_request(self, request: TokenRequest) -> TokenRequest:
        """Return the request, which was made for Authlib to begin with."""
        return request

    def send_signal(self, name: str, *_args: object, **_kwargs: object) -> None:
        """Tell nobody."""
