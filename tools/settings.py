"""Read the runner's environment; nothing else in tools does."""

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_LIBRARIES: Final = Path(sys.prefix, "libraries")


class SettingsError(ValueError):
    """A setting is missing; the message names it."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Where the runner listens, where the edge does, and what there is to run.

    ``libraries`` holds a folder per connector that brings some.
    """

    runner_socket: Path
    edge_socket: Path
    catalog: Path
    libraries: Path = _LIBRARIES


def read_settings() -> Settings:
    """Return the settings from the environment.

    Raises:
        SettingsError: One is missing.
    """
    return Settings(
        runner_socket=_path("COUNTERFOIL_RUNNER_SOCKET"),
        edge_socket=_path("COUNTERFOIL_EDGE_SOCKET"),
        catalog=_path("COUNTERFOIL_CATALOG"),
        libraries=_path("COUNTERFOIL_LIBRARIES", _LIBRARIES),
    )


def _path(name: str, default: Path | None = None) -> Path:
    value = os.environ.get(name, "")
    if not value and default is not None:
        return default
    if not value:
        msg = f"{name} is not set"
        raise SettingsError(msg)
    return Path(value)
