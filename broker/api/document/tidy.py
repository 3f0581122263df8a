"""Make the document easy on generators of clients.

References lead somewhere, and operations have short names.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

_DEFS = "#/$defs/"
_SCHEMAS = "#/components/schemas/"


def hoist(schema: dict[str, Any], schemas: dict[str, Any]) -> None:
    """Move a body's own definitions among the document's, and point there.

    A reference is read from the document's root, where a body has none.
    """
    for name, found in schema.pop("$defs", {}).items():
        _point(found)
        assert schemas.setdefault(name, found) == found, name  # noqa: S101  (ours)
    _point(schema)


def _point(value: Any) -> None:  # noqa: ANN401  (any part of a schema)
    if isinstance(value, dict):
        said = value.get("$ref")
        if isinstance(said, str) and said.startswith(_DEFS):
            value["$ref"] = _SCHEMAS + said.removeprefix(_DEFS)
        for part in value.values():
            _point(part)
    elif isinstance(value, list):
        for part in value:
            _point(part)


def name_shortly(found: Iterable[tuple[str, str, dict[str, Any]]]) -> None:
    """Name operations as their functions, where only one has that name."""
    operations = [(_short(path, one), one) for _, path, one in found]
    count = Counter(name for name, _ in operations)
    for name, one in operations:
        if count[name] == 1:
            one["operationId"] = name


def _short(path: str, operation: dict[str, Any]) -> str:
    """Return what stands before the path in the long name."""
    long: str = operation["operationId"]
    inside = "".join(one if one.isalnum() else "_" for one in path)
    return long.partition(inside)[0] or long
