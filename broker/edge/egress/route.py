"""Where requests go: to which host, at which addresses, and with what TLS."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from broker.edge.egress.tls import SYSTEM_TLS, Tls

USUAL_PORTS: Final = {"http": 80, "https": 443, "smtp": 25, "smtps": 465}


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A base URL taken apart; ``prefix`` has no final slash."""

    scheme: str
    host: str
    port: int
    prefix: str

    @property
    def is_mail(self) -> bool:
        """Return whether mail is handed over there, by SMTP."""
        return self.scheme in {"smtp", "smtps"}

    @property
    def is_secure(self) -> bool:
        """Return whether TLS is spoken from the first byte on."""
        return self.scheme in {"https", "smtps"}

    @property
    def authority(self) -> str:
        """Return what the Host header says."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        usual = USUAL_PORTS[self.scheme]
        return host if self.port == usual else f"{host}:{self.port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """The way to one upstream; requests with the same one share connections."""

    endpoint: Endpoint
    allow_private: bool
    tls: Tls = SYSTEM_TLS
