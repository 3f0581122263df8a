"""Tokens and proofs: ``private_key_jwt``, DPoP with nonce, one token for many calls.

Source: RFC 7523; RFC 8414; RFC 8707; RFC 9449.
"""

from __future__ import annotations

import json
import secrets
from base64 import urlsafe_b64encode
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import httpx
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256

from broker.client.answers import RefusedError, UnreachableError, answer_of
from broker.core.canonical import canonical
from broker.core.jws import public_to_jwk

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from broker.core.jws import PrivateKey

ASSERTION_TYPE: Final = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
ASSERTION_LIFE_S: Final = 60
RENEW_BEFORE_S: Final = 30
NONCE_KEPT_S: Final = 60
ATTEMPTS_MAX: Final = 3
"""How often a request is sent: once, and again for a nonce that moved meanwhile."""


def now_utc() -> datetime:
    """Return the current time."""
    return datetime.now(UTC)


@dataclass(slots=True)
class Signer:
    """A key, a clock, and the nonces that servers gave."""

    key: PrivateKey
    now: Callable[[], datetime] = now_utc
    nonces: dict[str, tuple[str, datetime]] = field(default_factory=dict)

    def proof(self, method: str, url: str, *, token: str | None = None) -> str:
        """Return a DPoP proof for one request; a nonce of that server goes along."""
        parts = urlsplit(url)
        claims: dict[str, Any] = {
            "jti": secrets.token_urlsafe(16),
            "htm": method,
            "htu": parts._replace(query="", fragment="").geturl(),
            "iat": int(self.now().timestamp()),
        }
        if token is not None:
            claims["ath"] = _encode(sha256(token.encode("ascii")).digest())
        nonce, learned_at = self.nonces.get(parts.netloc, ("", self.now()))
        # A server asks for nonces for a while and then no more; an old one is refused.
        if nonce and self.now() - learned_at < timedelta(seconds=NONCE_KEPT_S):
            claims["nonce"] = nonce
        jwk = public_to_jwk(self.key.public())
        public = {name: jwk[name] for name in ("kty", "crv", "x", "y") if name in jwk}
        return self.sign({"typ": "dpop+jwt", "jwk": public}, claims)

    def assertion(self, client_id: str, *, audience: str) -> str:
        """Return a client assertion for one token request."""
        issued_s = int(self.now().timestamp())
        claims = {
            "iss": client_id,
            "sub": client_id,
            "aud": audience,
            "jti": secrets.token_urlsafe(16),
            "iat": issued_s,
            "exp": issued_s + ASSERTION_LIFE_S,
        }
        return self.sign({"typ": "JWT", "kid": self.key.kid}, claims)

    def learn(self, response: httpx.Response) -> bool:
        """Keep the nonce of a response; return whether it asks for a repetition."""
        nonce = response.headers.get("dpop-nonce")
        if not nonce:
            return False
        server = response.request.url.netloc.decode("ascii")
        self.nonces[server] = (nonce, self.now())
        return response.status_code in {400, 401}

    def sign(self, header: Mapping[str, Any], claims: Mapping[str, Any]) -> str:
        """Return a compact JWS with any header."""
        head = canonical({"alg": self.key.algorithm.value} | dict(header))
        signed = f"{_encode(head)}.{_encode(canonical(dict(claims)))}"
        material = self.key.material
        if isinstance(material, Ed25519PrivateKey):
            signature = material.sign(signed.encode("ascii"))
        else:
            der = material.sign(signed.encode("ascii"), ec.ECDSA(SHA256()))
            r, s = decode_dss_signature(der)
            signature = r.to_bytes(32, "big") + s.to_bytes(32, "big")
        return f"{signed}.{_encode(signature)}"


@dataclass(slots=True)
class TokenSource:
    """Gets tokens for one resource, and keeps each until shortly before it ends.

    Args:
        http: The connection pool.
        base_url: Where the metadata is; the issuer is what it says.
        client_id: Such as ``agent:<id>``.
        key: What the client authenticates with.
        instance: What tokens are bound to: the key of this running copy; without one
            they are Bearer tokens.
        resource: Path of the resource at the issuer.
        details: ``authorization_details``, to ask for less.
    """

    http: httpx.AsyncClient
    base_url: str
    client_id: str
    key: Signer
    instance: Signer | None
    resource: str
    details: Sequence[Mapping[str, Any]] = ()
    _token: str = ""
    _renew_at: datetime | None = None
    _metadata: Mapping[str, Any] | None = None

    async def token(self) -> str:
        """Return a token that is good for a while.

        Raises:
            RefusedError: There is none for this client.
            UnreachableError: Nobody answered.
        """
        renew_at = self._renew_at
        if renew_at is None or self.key.now() >= renew_at:
            answer = await self._ask()
            self._token = str(answer["access_token"])
            life_s = int(answer["expires_in"]) - RENEW_BEFORE_S
            self._renew_at = self.key.now() + timedelta(seconds=life_s)
        return self._token

    def forget(self) -> None:
        """Drop the token: the next call gets a new one."""
        self._renew_at = None

    async def issuer(self) -> str:
        """Return the issuer that the metadata names."""
        return str((await self._about())["issuer"])

    async def _about(self) -> Mapping[str, Any]:
        if self._metadata is None:
            url = f"{self.base_url}/.well-known/oauth-authorization-server"
            self._metadata = answer_of(await send(self.http, "GET", url)).checked()
        return self._metadata

    async def _ask(self) -> Mapping[str, Any]:
        about = await self._about()
        issuer, url = str(about["issuer"]), str(about["token_endpoint"])
        form = {
            "grant_type": "client_credentials",
            "client_assertion_type": ASSERTION_TYPE,
            "resource": issuer + self.resource,
        }
        if self.details:
            form["authorization_details"] = json.dumps(list(self.details))
        response: httpx.Response | None = None
        for _ in range(ATTEMPTS_MAX):
            form["client_assertion"] = self.key.assertion(
                self.client_id, audience=issuer
            )
            bound = self.instance
            headers = {"dpop": bound.proof("POST", url)} if bound else {}
            response = await send(self.http, "POST", url, data=form, headers=headers)
            if bound is None or not bound.learn(response):
                return answer_of(response).checked()
        assert response is not None  # noqa: S101  (at least one was sent)
        raise RefusedError(answer_of(response))


async def send(
    http: httpx.AsyncClient,
    method: str,
    url: str,
    **more: Any,
) -> httpx.Response:
    """Send a request.

    Raises:
        UnreachableError: Nobody answered, or not in time.
    """
    try:
        return await http.request(method, url, **more)
    except httpx.TransportError as error:
        parts = urlsplit(url)
        msg = f"{parts.scheme}://{parts.netloc} does not answer ({error})"
        raise UnreachableError(msg) from error


def _encode(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode("ascii")
