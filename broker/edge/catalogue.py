"""Load the manifests once, read-only; a warrant names one of them by its digest."""

from __future__ import annotations

import tomllib
from typing import TYPE_CHECKING, Final

from broker.registry.tools import ManifestError, Tool, parse_manifest

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

MANIFEST_BYTES_MAX: Final = 65_536
MANIFESTS_MAX: Final = 1_024


def load_catalogue(folder: Path) -> Mapping[str, Tool]:
    """Return the tools of ``<folder>/<connector>/<tool>.toml`` by digest.

    Raises:
        ManifestError: A manifest does not load: the edge does not start with part of
            the rules.
    """
    paths = sorted(folder.glob("*/*.toml"))
    if len(paths) > MANIFESTS_MAX:
        msg = f"more than {MANIFESTS_MAX} manifests in {folder}"
        raise ManifestError(msg)
    tools: dict[str, Tool] = {}
    names: set[str] = set()
    for path in paths:
        tool = _load(path)
        if tool.connector != path.parent.name:
            msg = f"{path} names connector {tool.connector!r}, not its folder's"
            raise ManifestError(msg)
        if tool.name in names:
            msg = f"{path}: there is another manifest for {tool.name}"
            raise ManifestError(msg)
        names.add(tool.name)
        tools[tool.digest] = tool
    return tools


def _load(path: Path) -> Tool:
    with path.open("rb") as file:
        data = file.read(MANIFEST_BYTES_MAX + 1)
    if len(data) > MANIFEST_BYTES_MAX:
        msg = f"{path} is longer than {MANIFEST_BYTES_MAX} bytes"
        raise ManifestError(msg)
    try:
        return parse_manifest(tomllib.loads(data.decode("utf-8")), name=str(path))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        msg = f"{path} is no TOML: {error}"
        raise ManifestError(msg) from None
