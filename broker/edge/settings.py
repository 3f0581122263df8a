"""Read the edge's environment once; the only place in the edge that does."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from broker.sealing import SealError, read_transit

if TYPE_CHECKING:
    from collections.abc import Mapping

    from broker.sealing import Transit

DEMO = "demo"
PRODUCTION = "production"


class SettingsError(ValueError):
    """A variable is missing or malformed; the text names it, never its value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What the edge was told.

    Attributes:
        state: The state folder; the edge's own is ``edge`` in it.
        stamp: ``demo`` or ``production``.
        tenant: The one tenant whose warrants are accepted.
        environment: The one environment whose warrants are accepted.
        socket: Where to listen.
        database_url: PostgreSQL under the edge's own role, without a password.
        database_password_file: Names the file that holds it.
        catalog: Folder of the manifests.
        kek_file: The key that wraps the credentials' keys, unless transit does.
        transit: Where Vault or OpenBao wraps them; None if a file's key does.
        crm_url: Base URL of the demo CRM, empty if there is none.
        crm_credential_file: Its bearer credential, to be sealed at the first start.
        log_level: debug, info, warning or error.
    """

    state: Path
    stamp: str
    tenant: str
    environment: str
    socket: Path
    database_url: str
    database_password_file: Path | None
    catalog: Path
    kek_file: Path
    transit: Transit | None
    crm_url: str
    crm_credential_file: Path | None
    log_level: str

    @property
    def folder(self) -> Path:
        """Return the folder that is the edge's alone."""
        return self.state / "edge"

    @property
    def public(self) -> Path:
        """Return the folder of public keys."""
        return self.state / "public"


def from_environment(environ: Mapping[str, str] | None = None) -> Settings:
    """Return the settings of this process, or of ``environ``.

    Raises:
        SettingsError: A variable is missing or malformed, or production is asked for
            with a key file that lies beside the data that it protects.
    """
    read = os.environ if environ is None else environ
    state = Path(_named(read, "STATE")).absolute()
    stamp = read.get("COUNTERFOIL_STAMP", DEMO)
    if stamp not in {DEMO, PRODUCTION}:
        msg = "COUNTERFOIL_STAMP is demo or production"
        raise SettingsError(msg)
    kek = read.get("COUNTERFOIL_EDGE_KEK_FILE", "")
    kek_file = Path(kek).absolute() if kek else state / "edge" / "vault.kek"
    transit = _transit(read)
    if stamp == PRODUCTION and transit is None and kek_file.is_relative_to(state):
        msg = (
            "production keeps COUNTERFOIL_EDGE_KEK_FILE outside of the state folder, "
            "or has COUNTERFOIL_EDGE_TRANSIT_URL wrap keys"
        )
        raise SettingsError(msg)
    return Settings(
        state=state,
        stamp=stamp,
        tenant=read.get("COUNTERFOIL_TENANT", "demo"),
        environment=read.get("COUNTERFOIL_ENVIRONMENT", "dev"),
        socket=_path(read, "EDGE_SOCKET") or state / "run" / "edge" / "edge.sock",
        database_url=read.get("COUNTERFOIL_DATABASE_URL", ""),
        database_password_file=_path(read, "DATABASE_PASSWORD_FILE"),
        catalog=_path(read, "CATALOG")
        or Path(__file__).resolve().parents[2] / "tools" / "catalog",
        kek_file=kek_file,
        transit=transit,
        crm_url=read.get("COUNTERFOIL_CRM_URL", ""),
        crm_credential_file=_path(read, "CRM_CREDENTIAL_FILE"),
        log_level=read.get("COUNTERFOIL_LOG_LEVEL", "info").lower(),
    )


def _transit(read: Mapping[str, str]) -> Transit | None:
    try:
        return read_transit(read, "COUNTERFOIL_EDGE_TRANSIT")
    except SealError as error:
        raise SettingsError(str(error)) from None


def _named(read: Mapping[str, str], name: str) -> str:
    value = read.get(f"COUNTERFOIL_{name}", "")
    if not value:
        msg = f"COUNTERFOIL_{name} is not set"
        raise SettingsError(msg)
    return value


def _path(read: Mapping[str, str], name: str) -> Path | None:
    value = read.get(f"COUNTERFOIL_{name}", "")
    return Path(value).absolute() if value else None
