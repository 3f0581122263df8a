"""Where requests go: to which host, at which addresses, and with what TLS."""

from __future__ import annotations

from dataclasses import dataclass

from broker.edge.egress.tls import SYSTEM_TLS, Tls


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """The way to one upstream; requests with the same one share connections."""

    endpoint: Endpoint
    allow_private: bool
    tls: Tls = SYSTEM_TLS
