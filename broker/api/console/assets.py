"""The console's own style, script and pictures, under names that change with them.

The vendored script is one concatenated file: as separate files, parts of it can miss
each other's start. assets/vendor/manifest.json says what it is made of.
"""

from __future__ import annotations

from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Final

FOLDER: Final = Path(__file__).parent / "assets"
FOREVER: Final = "public, max-age=31536000, immutable"
_TAG_CHARS = 16
_FILES: Final = {
    "console.js": (
        "text/javascript; charset=utf-8",
        ("vendor/vendor.js", "console.js"),
    ),
    "console.css": ("text/css; charset=utf-8", ("console.css",)),
    "icon.svg": ("image/svg+xml", ("icon.svg",)),
}


@cache
def asset(name: str) -> tuple[str, bytes] | None:
    """Return media type and content of an asset, or None if there is none."""
    if name not in _FILES:
        return None
    media_type, parts = _FILES[name]
    return media_type, b"\n".join((FOLDER / part).read_bytes() for part in parts)


@cache
def asset_tag(name: str) -> str:
    """Return what stands for an asset's content in its path."""
    found = asset(name)
    return sha256(found[1]).hexdigest()[:_TAG_CHARS] if found else ""


def asset_path(name: str) -> str:
    """Return the path of an asset as it is now."""
    return f"/console/assets/{asset_tag(name)}/{name}"
