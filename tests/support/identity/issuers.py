"""Other issuers in tests: what they sign, and a server that hands out their keys."""

from __future__ import annotations

import asyncio
import json
import ssl
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any

from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import (
    RSAPrivateKey,
    generate_private_key,
)
from cryptography.hazmat.primitives.hashes import SHA256

from broker.core.identity.workload import Federation
from broker.core.jwk import PrivateKey, public_to_jwk
from tests.support.identities import ISSUER, NOW_S, b64, edited, key_of, raw_signature

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.certificates import Pair

CLUSTER = "https://cluster.example"
ACCOUNT = "system:serviceaccount:care:agent"
SVID = "spiffe://example.org/care/agent"
LOGIN = "https://login.example"


@cache
def rsa(bits: int = 2_048) -> RSAPrivateKey:
    """Return an RSA key; making one takes a while, so all tests share it."""
    return generate_private_key(65_537, bits)


def rsa_jwk(key: RSAPrivateKey, kid: str = "rsa-1", **changes: Any) -> dict[str, Any]:
    numbers = key.public_key().public_numbers()

    def text(number: int) -> str:
        return b64(number.to_bytes((number.bit_length() + 7) // 8, "big"))

    made = {"kty": "RSA", "kid": kid, "n": text(numbers.n), "e": text(numbers.e)}
    return edited(made, {"use": "sig", "alg": "RS256"} | changes)


def ec_jwk(word: str = "issuer", kid: str = "ec-1", **changes: Any) -> dict[str, Any]:
    public = public_to_jwk(key_of(word).public())
    made = {name: public[name] for name in ("kty", "crv", "x", "y")}
    return edited(made | {"kid": kid}, changes)


def signed(
    key: PrivateKey | RSAPrivateKey, header: dict[str, Any], claims: dict[str, Any]
) -> str:
    """Sign any header and claims, as another issuer would."""
    text = f"{b64(json.dumps(header).encode())}.{b64(json.dumps(claims).encode())}"
    if isinstance(key, RSAPrivateKey):
        signature = key.sign(text.encode(), PKCS1v15(), SHA256())
    else:
        signature = raw_signature(text.encode(), key)
    return f"{text}.{b64(signature)}"


def account_token(*, now_s: int = NOW_S, **changes: Any) -> str:
    """Return a service account's token, as Kubernetes projects it into a pod."""
    claims = {
        "iss": CLUSTER,
        "sub": ACCOUNT,
        "aud": [ISSUER],
        "iat": now_s - 100,
        "nbf": now_s - 100,
        "exp": now_s + 3_000,
        "jti": "projected-1",
        "kubernetes.io": {"namespace": "care", "serviceaccount": {"name": "agent"}},
    }
    header = edited({"alg": "RS256", "kid": "rsa-1"}, changes.pop("header", {}))
    key = changes.pop("key", None) or rsa()
    return signed(key, header, edited(claims, changes))


def svid(*, now_s: int = NOW_S, **changes: Any) -> str:
    """Return a JWT-SVID: no issuer but its trust domain, and no jti."""
    claims = {"sub": SVID, "aud": [ISSUER], "exp": now_s + 300, "iat": now_s}
    header = {"alg": "ES256", "kid": "ec-1", "typ": "JWT"}
    header = edited(header, changes.pop("header", {}))
    key = changes.pop("key", None) or key_of("issuer")
    return signed(key, header, edited(claims, changes))


def cluster(**changes: Any) -> Federation:
    """Return the federation of a cluster's service account."""
    fields: dict[str, Any] = {
        "name": "in-cluster",
        "issuer": CLUSTER,
        "subject": ACCOUNT,
        "audience": ISSUER,
        "life_s_max": 3_600,
        "reusable": True,
        "keys": (rsa_jwk(rsa()),),
    }
    return Federation(**fields | changes)


def trust_domain(**changes: Any) -> Federation:
    """Return the federation of a SPIFFE identity."""
    fields: dict[str, Any] = {
        "name": "spiffe",
        "issuer": "spiffe://example.org",
        "subject": SVID,
        "audience": ISSUER,
        "life_s_max": 600,
        "keys": (ec_jwk(),),
    }
    return Federation(**fields | changes)


@dataclass
class KeyServer:
    """Serves one body over https on loopback, and counts who asks."""

    body: bytes = b""
    status: str = "200 OK"
    headers: str = ""
    hang: bool = False
    asked: list[str] = field(default_factory=list)
    port: int = 0

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}/keys"

    async def answer(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        self.asked.append(head.decode().partition("\r\n")[0])
        if not self.hang:
            writer.write(
                f"HTTP/1.1 {self.status}\r\ncontent-length: {len(self.body)}\r\n"
                f"connection: close\r\n{self.headers}\r\n".encode()
                + self.body
            )
            await writer.drain()
            writer.close()


@asynccontextmanager
async def key_server(pair: Pair, *keys: dict[str, Any]) -> AsyncIterator[KeyServer]:
    """Open a server with a certificate, that hands out a JWK set."""
    served = KeyServer(json.dumps({"keys": keys}).encode())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.certificate, pair.key)
    server = await asyncio.start_server(served.answer, "127.0.0.1", 0, ssl=context)
    served.port = server.sockets[0].getsockname()[1]
    try:
        yield served
    finally:
        server.close()
