"""What a sealed credential is for: to whom it belongs and where it may be sent.

All of it is bound to the ciphertext: tenant, environment, connector, version, kind,
base URL, settings, and whether private addresses are allowed. A row that was moved to
another connector, or whose URL was edited, does not open.
"""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, field
from ipaddress import ip_address
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from broker.core.canonical import canonical
from broker.edge.egress.route import USUAL_PORTS, Endpoint
from broker.edge.vault.kinds import VaultError, check_settings

if TYPE_CHECKING:
    from collections.abc import Mapping

BASE_URL_CHARS_MAX: Final = 500
VERSION_MAX: Final = 1_000_000

_HOST = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*")
_PREFIX = re.compile(r"(/[A-Za-z0-9._~-]+)*")
_CONNECTOR = re.compile(r"[a-z][a-z0-9_]{0,63}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Credential:
    """What a sealed secret is for; all of it is bound to the ciphertext.

    ``kind`` and ``settings`` say how it is used (see `kinds`). ``allow_private`` lets
    hosts have a loopback, private or link-local address.
    """

    tenant: str
    environment: str
    connector: str
    version: int
    kind: str
    base_url: str
    allow_private: bool
    settings: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse what the edge could not use safely.

        Raises:
            VaultError: A field is malformed, or plain HTTP leads to a public host.
        """
        if not _CONNECTOR.fullmatch(self.connector):
            msg = f"connector {self.connector!r} must look like 'retail'"
            raise VaultError(msg)
        if not 1 <= self.version <= VERSION_MAX:
            msg = f"a credential's version is 1 to {VERSION_MAX}"
            raise VaultError(msg)
        check_settings(self.kind, self.settings)
        token = self.token_endpoint
        for endpoint in (self.endpoint, *([token] if token else [])):
            if not (endpoint.is_secure or self.allow_private):
                msg = (
                    "plain http is for private addresses: use https or --allow-private"
                )
                raise VaultError(msg)
        tls = {"ca", "pins", "certificate"} & self.settings.keys()
        if tls and not self.endpoint.is_secure:
            msg = f"{min(tls)} needs a base URL with https"
            raise VaultError(msg)
        if self.endpoint.is_mail is not ("sender" in self.settings):
            msg = "sender goes with a base URL of smtps, and smtps with a sender"
            raise VaultError(msg)
        if self.endpoint.is_mail and self.endpoint.prefix:
            msg = "a mail server's address has no path"
            raise VaultError(msg)

    @property
    def endpoint(self) -> Endpoint:
        """Return where the secret may be sent, and nowhere else."""
        return parse_base_url(self.base_url)

    @property
    def token_endpoint(self) -> Endpoint | None:
        """Return where access tokens come from, if they come from somewhere."""
        url = self.settings.get("token_url")
        return None if url is None else parse_base_url(url)

    @property
    def bound(self) -> bytes:
        """Return what is bound to the ciphertext."""
        return b"counterfoil edge credential\x00" + canonical(asdict(self))


@dataclass(frozen=True, slots=True)
class Sealed:
    """A credential and its ciphertexts, as one row of the database."""

    credential: Credential
    kek_id: str
    wrapped_key: bytes
    sealed: bytes

    @property
    def removed(self) -> bool:
        """Return whether its ciphertexts were destroyed."""
        return not self.sealed


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
    known = parts.scheme in USUAL_PORTS
    if not known or "@" in parts.netloc or parts.query or parts.fragment or port == 0:
        msg = (
            f"a base URL is {', '.join(USUAL_PORTS)}, without user, query and fragment"
        )
        raise VaultError(msg)
    if not (_HOST.fullmatch(host) or _is_address(host)):
        msg = "the base URL names no plain host"
        raise VaultError(msg)
    prefix = parts.path.removesuffix("/")
    segments = prefix.split("/")
    if not _PREFIX.fullmatch(prefix) or {".", ".."} & set(segments):
        msg = "the base URL's path has plain segments only"
        raise VaultError(msg)
    return Endpoint(parts.scheme, host, port or USUAL_PORTS[parts.scheme], prefix)


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return "%" not in host
