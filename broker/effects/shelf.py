"""The shelf: manifests read once from the catalog, as data; no tool is imported."""

from __future__ import annotations

import tomllib
from typing import TYPE_CHECKING, Any

from broker.registry.tools import ManifestError, parse_manifest

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from broker.core.words.tool import Tool

TOOLS_MAX = 1_000
MANIFEST_BYTES_MAX = 65_536


class CatalogShelf:
    """The Shelf port over a folder of ``<connector>/<tool>.toml``."""

    def __init__(self, catalog: Path) -> None:
        """Load every manifest.

        Raises:
            ManifestError: a file does not load, two tools share a name, or there are
                too many. Nothing is left out silently.
        """
        files = sorted(catalog.glob("*/*.toml"))
        if not 0 < len(files) <= TOOLS_MAX:
            msg = f"{len(files)} manifests in the catalog, expected 1..{TOOLS_MAX}"
            raise ManifestError(msg)
        self._tools: dict[str, Tool] = {}
        for file in files:
            tool = read_manifest(file)[1]
            if tool.name in self._tools:
                msg = f"manifest {file.name}: the name {tool.name} is taken"
                raise ManifestError(msg)
            self._tools[tool.name] = tool

    def tool(self, name: str) -> Tool | None:
        """Return the tool with this name, or None."""
        return self._tools.get(name)

    def tools(self) -> Sequence[Tool]:
        """Return all tools, by name."""
        return [self._tools[name] for name in sorted(self._tools)]


def read_manifest(file: Path) -> tuple[dict[str, Any], Tool]:
    """Return a manifest as it stands in its file, and the tool that it describes.

    Raises:
        ManifestError: It does not load; the message names file, field and remedy.
    """
    document = read_document(file)
    return document, parse_manifest(document, name=file.name)


def read_document(file: Path) -> dict[str, Any]:
    """Return the TOML document of a manifest, whether or not it is a good one.

    Raises:
        ManifestError: It is too long, or no TOML.
    """
    with file.open("rb") as opened:
        data = opened.read(MANIFEST_BYTES_MAX + 1)
    if len(data) > MANIFEST_BYTES_MAX:
        msg = f"manifest {file.name}: longer than {MANIFEST_BYTES_MAX} bytes"
        raise ManifestError(msg)
    try:
        return tomllib.loads(data.decode())
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        msg = f"manifest {file.name}: {error}"
        raise ManifestError(msg) from error
