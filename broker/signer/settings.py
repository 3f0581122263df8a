"""Read what the signer needs from its environment."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path


class SettingsError(ValueError):
    """The environment lacks something, or says something that cannot be."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Where the signer keeps its files, listens, and what it signs for.

    Attributes:
        folder: STATE/signer, 0700; key and last head live here.
        public: STATE/public/signer; the verifier keys are published here.
        socket: Path to listen on; empty for a command that does not listen.
        name: What an origin begins with: a schema-less URL of tenant and environment.
    """

    folder: Path
    public: Path
    socket: str
    name: str


def read_settings(*, listens: bool = True) -> Settings:
    """Return the settings of this process.

    Raises:
        SettingsError: A variable is missing.
    """
    state = Path(_required("COUNTERFOIL_STATE"))
    tenant = os.environ.get("COUNTERFOIL_TENANT", "demo")
    environment = os.environ.get("COUNTERFOIL_ENVIRONMENT", "dev")
    name = os.environ.get("COUNTERFOIL_SIGNER_ORIGIN") or (
        f"counterfoil.localhost/{tenant}/{environment}"
    )
    return Settings(
        folder=state / "signer",
        public=state / "public" / "signer",
        socket=_required("COUNTERFOIL_SIGNER_SOCKET") if listens else "",
        name=name,
    )


def _required(name: str) -> str:
    value = os.environ.get(name)
    if not value:
        msg = f"{name} is not set"
        raise SettingsError(msg)
    return value
