"""Turn a credential into what a request carries, and what no answer may hold.

Opened for one request and forgotten after it. An access token that was got for a
credential is the exception: it is kept, in memory only, until shortly before it ends.
"""

from __future__ import annotations

import hmac
from base64 import b64decode, b64encode
from dataclasses import dataclass, field
from hashlib import sha256
from typing import TYPE_CHECKING
from urllib.parse import quote_from_bytes

from broker.edge.egress.route import Route
from broker.edge.egress.tls import Tls
from broker.edge.vault.kinds import (
    BASIC,
    BEARER,
    HEADER,
    MTLS,
    OAUTH_CLIENT,
    OAUTH_REFRESH,
    PATH,
    QUERY,
    SECRET_BYTES_MIN,
    SIGNATURE,
    WEBHOOK,
)
from broker.edge.vault.sealing import key_of, open_with

if TYPE_CHECKING:
    from broker.edge.vault.credential import Credential, Sealed
    from broker.edge.vault.keeper import Vault
    from broker.edge.vault.tokens import Tokens

AUTHORIZATION = b"Authorization"
WEBHOOK_PREFIX = b"whsec_"


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """How one request proves that it may.

    Attributes:
        credential: Where it may go.
        headers: What is sent beside the edge's own headers.
        path: What is put before the target; empty if nothing is.
        query: What is put behind it; likewise.
        secrets: What an answer must not hold, in any form.
        client_key: Private key of the client certificate, in PEM, if there is one.
        signature: Header for a signature over each body, and the secret that makes it.
        webhook: The secret of a webhook's signature, if that is how bodies are signed.
    """

    credential: Credential
    headers: tuple[tuple[bytes, bytes], ...] = field(default=(), repr=False)
    path: str = field(default="", repr=False)
    query: str = field(default="", repr=False)
    secrets: tuple[bytes, ...] = field(default=(), repr=False)
    client_key: bytes = field(default=b"", repr=False)
    signature: tuple[bytes, bytes] | None = field(default=None, repr=False)
    webhook: bytes = field(default=b"", repr=False)

    def headers_for(
        self, body: bytes | None, *, at_s: int, key: str = ""
    ) -> tuple[tuple[bytes, bytes], ...]:
        """Return what is sent beside the edge's own headers with this body.

        A signature is ``t=<unix seconds>,v1=<hex>``: HMAC-SHA256 over the seconds, a
        dot, and the body as it is sent. A receiver that compares it and refuses old
        seconds takes nothing that was changed on the way, or kept and sent again.

        A webhook's signature is over the message's id (the request's key), the seconds
        and the body, with dots between them, so that a receiver also knows a message
        that it took before.

        Source: RFC 2104; the first form is Stripe's, the second that of Standard
        Webhooks, which many receivers can check.
        """
        if self.webhook:
            return (*self.headers, *_webhook(self.webhook, body or b"", at_s, key))
        if self.signature is None:
            return self.headers
        header, secret = self.signature
        when = str(at_s).encode("ascii")
        code = hmac.new(secret, when + b"." + (body or b""), sha256).hexdigest()
        return (*self.headers, (header, b"t=%s,v1=%s" % (when, code.encode("ascii"))))

    def target(self, asked: str) -> str:
        """Return a request's target with the key in it, if that is how it travels.

        A target that is the root alone is the address in the key itself.
        """
        if self.path:
            asked = self.path + (asked.removeprefix("/") and asked)
        if self.query:
            asked = f"{asked}{'&' if '?' in asked else '?'}{self.query}"
        return asked

    @property
    def route(self) -> Route:
        """Return the way to the upstream."""
        settings = self.credential.settings
        tls = Tls(
            ca=settings.get("ca", ""),
            certificate=settings.get("certificate", ""),
            key=self.client_key,
            pins=frozenset(filter(None, settings.get("pins", "").split(","))),
        )
        return Route(
            endpoint=self.credential.endpoint,
            allow_private=self.credential.allow_private,
            tls=tls,
        )


@dataclass(frozen=True, slots=True)
class Keyring:
    """Gives access to upstreams, by connector."""

    vault: Vault
    tokens: Tokens

    async def access(self, connector: str) -> Access | None:
        """Return access by the credential in use; None if none is.

        Raises:
            StoreError: PostgreSQL did not say.
            VaultError: The credential does not open, or got no access token.
        """
        current = await self.vault.rows.current(connector)
        if current is None:
            return None
        row, key = await self.vault.opened(current)
        return await self._access(row, key)

    async def access_by(self, connector: str, version: int) -> Access:
        """Return access by one version, in use or not.

        Raises:
            StoreError: PostgreSQL did not say.
            VaultError: There is none, it does not open, or it got no access token.
        """
        row = await self.vault.version(connector, version)
        return await self._access(row, await key_of(row, kek=self.vault.kek))

    def stale(self, access: Access) -> None:
        """Drop the access token of a request that the upstream did not take."""
        if access.secrets:
            self.tokens.forget(access.credential, access.secrets[0])

    async def _access(self, row: Sealed, key: bytes) -> Access:
        credential, secret = row.credential, open_with(key, row)
        if credential.kind not in {OAUTH_CLIENT, OAUTH_REFRESH}:
            return access_with(credential, secret)
        token = await self.tokens.token(row, key)
        # The token travels as a bearer's does; what it was got with must not come back.
        return Access(
            credential=credential,
            headers=((AUTHORIZATION, b"Bearer " + token),),
            secrets=(token, *self.tokens.secrets_of(credential, secret)),
        )


def access_with(credential: Credential, secret: bytes) -> Access:
    """Return what a request carries for a secret that is used as it is."""
    headers: tuple[tuple[bytes, bytes], ...] = ()
    secrets: tuple[bytes, ...] = (secret,)
    path, query, client_key, settings = "", "", b"", credential.settings
    signature: tuple[bytes, bytes] | None = None
    webhook = b""
    match credential.kind:
        case kind if kind == BEARER:
            headers = ((AUTHORIZATION, b"Bearer " + secret),)
        case kind if kind == BASIC:
            pair = settings["user"].encode("ascii") + b":" + secret
            headers = ((AUTHORIZATION, b"Basic " + b64encode(pair)),)
            if "sender" in settings:
                # A mail's sender is the credential's; no manifest can name another.
                headers += ((b"From", settings["sender"].encode("ascii")),)
        case kind if kind == HEADER:
            headers = ((settings["header"].encode("ascii"), secret),)
        case kind if kind == QUERY:
            query = f"{settings['parameter']}={quote_from_bytes(secret, safe='')}"
        case kind if kind == PATH:
            path = "/" + secret.decode("ascii")
            # One segment alone gives such a key away as well.
            long = [one for one in secret.split(b"/") if len(one) >= SECRET_BYTES_MIN]
            secrets = (secret, *(one for one in long if one != secret))
        case kind if kind == MTLS:
            # A private key is never sent, so it cannot come back either.
            client_key, secrets = secret, ()
        case kind if kind == SIGNATURE:
            signature = (settings["header"].encode("ascii"), secret)
        case kind if kind == WEBHOOK:
            webhook = b64decode(secret.removeprefix(WEBHOOK_PREFIX))
            # A receiver that gives away the bytes alone gives it away as well.
            secrets = (secret, secret.removeprefix(WEBHOOK_PREFIX))
        case kind:
            msg = f"no secret of kind {kind} is sent as it is"
            raise AssertionError(msg)
    return Access(
        credential=credential,
        headers=headers,
        path=path,
        query=query,
        secrets=secrets,
        client_key=client_key,
        signature=signature,
        webhook=webhook,
    )


def _webhook(
    secret: bytes, body: bytes, at_s: int, key: str
) -> tuple[tuple[bytes, bytes], ...]:
    name, when = key.encode("ascii"), str(at_s).encode("ascii")
    code = hmac.new(secret, b".".join((name, when, body)), sha256).digest()
    return (
        (b"webhook-id", name),
        (b"webhook-timestamp", when),
        (b"webhook-signature", b"v1," + b64encode(code)),
    )
