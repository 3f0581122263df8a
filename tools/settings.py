"""Read the runner's environment; nothing else in tools does."""

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

AUTOMATIC: Final = "auto"
WISHES: Final = (AUTOMATIC, "strict", "standard", "external", "off")
"""What COUNTERFOIL_SANDBOX may say: a posture, or the better of the first two."""

_LIBRARIES: Final = Path(sys.prefix, "libraries")


class SettingsError(ValueError):
    """A setting is missing or not known; the message names it."""


@dataclass(frozen=True, slots=True)
class TlsPlace:
    """A port for brokers that show a certificate which ``client_ca`` signed.

    ``key`` is a file that nobody else may read; port 0 takes a free one.
    """

    host: str
    port: int
    certificate: Path
    key: Path
    client_ca: Path


@dataclass(frozen=True, slots=True)
class Settings:
    """Where the runner listens, where the edge does, and what there is to run.

    ``libraries`` holds a folder per connector that brings some; ``sandbox`` is the
    posture that is wished for; ``cgroup`` is the folder of a delegated group that is
    not the runner's own. With ``tls`` brokers come there, and ``runner_socket`` is not
    looked at.
    """

    runner_socket: Path
    edge_socket: Path
    catalog: Path
    libraries: Path = _LIBRARIES
    sandbox: str = AUTOMATIC
    cgroup: Path | None = None
    tls: TlsPlace | None = None


def read_settings() -> Settings:
    """Return the settings from the environment.

    Raises:
        SettingsError: One is missing, or has a value that is not known.
    """
    tls = _read_tls()
    return Settings(
        runner_socket=Path() if tls else _path("COUNTERFOIL_RUNNER_SOCKET"),
        edge_socket=_path("COUNTERFOIL_EDGE_SOCKET"),
        catalog=_path("COUNTERFOIL_CATALOG"),
        libraries=_path("COUNTERFOIL_LIBRARIES", _LIBRARIES),
        sandbox=read_sandbox(),
        cgroup=read_cgroup(),
        tls=tls,
    )


def read_sandbox() -> str:
    """Return the posture that is wished for; errors are those of `read_settings`."""
    wish = os.environ.get("COUNTERFOIL_SANDBOX", "") or AUTOMATIC
    if wish not in WISHES:
        msg = f"COUNTERFOIL_SANDBOX is one of {', '.join(WISHES)}, not {wish!r}"
        raise SettingsError(msg)
    if wish == "off" and os.environ.get("COUNTERFOIL_STAMP") == "production":
        msg = "production refuses COUNTERFOIL_SANDBOX=off"
        raise SettingsError(msg)
    return wish


def read_cgroup() -> Path | None:
    """Return the folder of the group to divide; None for the one that we are in."""
    value = os.environ.get("COUNTERFOIL_CGROUP", "")
    return Path(value) if value else None


def _read_tls() -> TlsPlace | None:
    value = os.environ.get("COUNTERFOIL_RUNNER_LISTEN", "")
    if not value:
        return None
    try:
        parts = urlsplit(value)
        host, port = parts.hostname, parts.port
        plain = value == f"tls://{parts.netloc}" and "@" not in parts.netloc
    except ValueError:
        host, port, plain = None, None, False
    if not plain or not host or port is None:
        msg = (
            "COUNTERFOIL_RUNNER_LISTEN is tls://HOST:PORT, such as tls://127.0.0.1:8470"
        )
        raise SettingsError(msg)
    return TlsPlace(
        host=host,
        port=port,
        certificate=_path("COUNTERFOIL_RUNNER_TLS_CERTIFICATE_FILE"),
        key=_path("COUNTERFOIL_RUNNER_TLS_KEY_FILE"),
        client_ca=_path("COUNTERFOIL_RUNNER_TLS_CLIENT_CA_FILE"),
    )


def _path(name: str, default: Path | None = None) -> Path:
    value = os.environ.get(name, "")
    if not value and default is not None:
        return default
    if not value:
        msg = f"{name} is not set"
        raise SettingsError(msg)
    return Path(value)
