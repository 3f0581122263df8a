"""Read the runner's environment; nothing else in tools does."""

import os
from dataclasses import dataclass
from pathlib import Path


class SettingsError(ValueError):
    """A setting is missing; the message names it."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Where the runner listens, where the edge does, and what there is to run."""

    runner_socket: Path
    edge_socket: Path
    catalog: Path


def read_settings() -> Settings:
    """Return the settings from the environment.

    Raises:
        SettingsError: One is missing.
    """
    return Settings(
        runner_socket=_path("COUNTERFOIL_RUNNER_SOCKET"),
        edge_socket=_path("COUNTERFOIL_EDGE_SOCKET"),
        catalog=_path("COUNTERFOIL_CATALOG"),
    )


def _path(name: str) -> Path:
    value = os.environ.get(name, "")
    if not value:
        msg = f"{name} is not set"
        raise SettingsError(msg)
    return Path(value)
