"""Seal upstream credentials, and open one for the moment that it is used.

Every credential has a key of its own (AES-256-GCM), and the edge's key wraps that one.
Both are bound to everything the row says: tenant, environment, connector, version, base
URL, kind, and whether private addresses are allowed. A row that was moved to another
connector, or whose URL was edited, does not open.

Source: NIST SP 800-38D (GCM); RFC 5116.
"""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from hashlib import sha256
from ipaddress import ip_address
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from broker.core.canonical import canonical

if TYPE_CHECKING:
    from collections.abc import Callable

SECRET_BYTES_MIN: Final = 16
"""A shorter secret could be found in a response by accident, or by guessing."""

SECRET_BYTES_MAX: Final = 4_096
BASE_URL_CHARS_MAX: Final = 500
VERSION_MAX: Final = 1_000_000

_KEY_BYTES = 32
_NONCE_BYTES = 12
_SECRET = re.compile(rb"[\x21-\x7e]+")
_HOST = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*")
_PREFIX = re.compile(r"(/[A-Za-z0-9._~-]+)*")
_CONNECTOR = re.compile(r"[a-z][a-z0-9_]{0,63}")


class VaultError(ValueError):
    """A credential that cannot be sealed or opened; the text never holds it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Credential:
    """What a sealed secret is for; all of it is bound to the ciphertext.

    ``kind`` is ``bearer``: the secret follows the word Bearer in Authorization.
    ``allow_private`` lets the host have a loopback, private or link-local address.
    """

    tenant: str
    environment: str
    connector: str
    version: int
    kind: str
    base_url: str
    allow_private: bool

    def __post_init__(self) -> None:
        """Refuse what the edge could not use safely.

        Raises:
            VaultError: A field is malformed, or plain HTTP leads to a public host.
        """
        if not _CONNECTOR.fullmatch(self.connector):
            msg = f"connector {self.connector!r} must look like 'retail'"
            raise VaultError(msg)
        if not 1 <= self.version <= VERSION_MAX or self.kind != "bearer":
            msg = "a credential has kind bearer and a positive version"
            raise VaultError(msg)
        if self.endpoint.scheme == "http" and not self.allow_private:
            msg = "plain http is for private addresses only; use https"
            raise VaultError(msg)

    @property
    def endpoint(self) -> Endpoint:
        """Return where the secret may be sent, and nowhere else."""
        return parse_base_url(self.base_url)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A base URL taken apart; ``prefix`` has no final slash."""

    scheme: str
    host: str
    port: int
    prefix: str

    @property
    def authority(self) -> str:
        """Return what the Host header says."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        usual = 443 if self.scheme == "https" else 80
        return host if self.port == usual else f"{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Sealed:
    """A credential and its ciphertexts, as one row of the database."""

    credential: Credential
    kek_id: str
    wrapped_key: bytes
    sealed: bytes


def parse_base_url(text: str) -> Endpoint:
    """Take a base URL apart, and refuse one that two readers could read differently.

    Raises:
        VaultError: Not http or https, no plain host, or userinfo, query or fragment.
    """
    if len(text) > BASE_URL_CHARS_MAX or not text.isascii() or "\\" in text:
        msg = "the base URL is too long or not plain ASCII"
        raise VaultError(msg)
    try:
        parts = urlsplit(text)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        msg = "the base URL is malformed"
        raise VaultError(msg) from None
    known = parts.scheme in {"http", "https"}
    if not known or "@" in parts.netloc or parts.query or parts.fragment or port == 0:
        msg = "a base URL is http or https, without user, query and fragment"
        raise VaultError(msg)
    if not (_HOST.fullmatch(host) or _is_address(host)):
        msg = "the base URL names no plain host"
        raise VaultError(msg)
    prefix = parts.path.removesuffix("/")
    segments = prefix.split("/")
    if not _PREFIX.fullmatch(prefix) or {".", ".."} & set(segments):
        msg = "the base URL's path has plain segments only"
        raise VaultError(msg)
    usual = 443 if parts.scheme == "https" else 80
    return Endpoint(parts.scheme, host, port or usual, prefix)


def kek_id(kek: bytes) -> str:
    """Return a name for a wrapping key that does not give it away."""
    return "file:" + sha256(b"counterfoil edge kek\x00" + kek).hexdigest()[:16]


def seal(
    credential: Credential,
    secret: bytes,
    *,
    kek: bytes,
    random: Callable[[int], bytes],
) -> Sealed:
    """Seal a secret for exactly this use.

    Args:
        credential: What it is for.
        secret: Visible ASCII, SECRET_BYTES_MIN to SECRET_BYTES_MAX bytes.
        kek: The edge's wrapping key, 32 bytes.
        random: Returns that many fresh random bytes.

    Raises:
        VaultError: The secret has another form or length.
    """
    if not SECRET_BYTES_MIN <= len(secret) <= SECRET_BYTES_MAX:
        msg = f"a secret has {SECRET_BYTES_MIN} to {SECRET_BYTES_MAX} bytes"
        raise VaultError(msg)
    if not _SECRET.fullmatch(secret):
        msg = "a secret is visible ASCII without spaces"
        raise VaultError(msg)
    key, bound = random(_KEY_BYTES), _bound(credential)
    return Sealed(
        credential=credential,
        kek_id=kek_id(kek),
        wrapped_key=_encrypt(kek, key, b"key " + bound, nonce=random(_NONCE_BYTES)),
        sealed=_encrypt(key, secret, b"secret " + bound, nonce=random(_NONCE_BYTES)),
    )


def unseal(row: Sealed, *, kek: bytes) -> bytes:
    """Return the secret; the caller uses it at once and keeps it nowhere.

    Raises:
        VaultError: Another key wrapped it, or the row is not as it was sealed.
    """
    if row.kek_id != kek_id(kek):
        msg = f"sealed under the key {row.kek_id}, which this edge does not have"
        raise VaultError(msg)
    bound = _bound(row.credential)
    try:
        key = _decrypt(kek, row.wrapped_key, b"key " + bound)
        return _decrypt(key, row.sealed, b"secret " + bound)
    except (InvalidTag, ValueError):
        msg = "the row is not as it was sealed"
        raise VaultError(msg) from None


def _bound(credential: Credential) -> bytes:
    return b"counterfoil edge credential\x00" + canonical(asdict(credential))


def _encrypt(key: bytes, data: bytes, bound: bytes, *, nonce: bytes) -> bytes:
    return nonce + AESGCM(key).encrypt(nonce, data, bound)


def _decrypt(key: bytes, data: bytes, bound: bytes) -> bytes:
    return AESGCM(key).decrypt(data[:_NONCE_BYTES], data[_NONCE_BYTES:], bound)


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return "%" not in host
