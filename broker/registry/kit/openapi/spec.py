"""Walk an OpenAPI 3 document: local references only, and never without an end.

The document is somebody else's. A reference to another file or address is refused and
never fetched; one that leads to itself is refused where it stands alone, and a schema
that contains itself is cut where it does. Every operation may look at so many schemas.

Source: OpenAPI 3.0.4 and 3.1.1, Reference Object; RFC 6901.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

METHODS: Final = ("get", "post", "put", "patch", "delete")
OPERATIONS_MAX: Final = 20_000
"""In one file; how many are imported at once has a limit of its own."""

REFERENCES_MAX: Final = 32
"""References that lead to references, one after the other."""

NODES_MAX: Final = 4_000
"""Schemas that one operation may look at, each as often as it is met."""

SCHEMA_DEPTH_MAX: Final = 12
"""Nesting of schemas that are still looked at."""

_VERSION = re.compile(r"3\.[01]\.\d+")


class SpecError(ValueError):
    """A document, or an operation of it, that is not imported; says why."""


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of one path, as it stands in the document."""

    method: str
    path: str
    raw: Mapping[str, Any]
    shared: tuple[Any, ...]
    """Parameters of the path, which all its operations have."""

    @property
    def name(self) -> str:
        """Return how people name it."""
        return f"{self.method.upper()} {self.path}"

    @property
    def operation_id(self) -> str:
        """Return the document's own name for it, or nothing."""
        return str(self.raw.get("operationId") or "")


@dataclass(slots=True)
class Spec:
    """A document, and how much of it may still be looked at."""

    document: Mapping[str, Any]
    _nodes: int = field(default=0)

    def operations(self) -> Iterator[Operation]:
        """Yield every operation.

        Raises:
            SpecError: This is no OpenAPI 3.0 or 3.1, or has more than OPERATIONS_MAX.
        """
        version = self.document.get("openapi")
        if not isinstance(version, str) or not _VERSION.fullmatch(version):
            msg = "this is no OpenAPI 3.0 or 3.1: the field 'openapi' says so"
            raise SpecError(msg)
        paths = self.document.get("paths")
        if not isinstance(paths, dict):
            msg = "the document has no 'paths'"
            raise SpecError(msg)
        count = 0
        for path, item in paths.items():
            if not isinstance(item, dict):
                msg = f"the path {str(path)[:80]!r} is no object"
                raise SpecError(msg)
            shared = item.get("parameters")
            for method in METHODS:
                if method not in item:
                    continue
                count += 1
                if count > OPERATIONS_MAX:
                    msg = f"the document has more than {OPERATIONS_MAX} operations"
                    raise SpecError(msg)
                yield Operation(
                    method=method,
                    path=str(path),
                    raw=_object(item[method], f"{method} {path}"),
                    shared=tuple(shared) if isinstance(shared, list) else (),
                )

    def begin(self) -> None:
        """Start counting anew: each operation has its own allowance."""
        self._nodes = 0

    def resolve(self, node: object) -> Mapping[str, Any]:
        """Return what a node says, or what it refers to.

        Raises:
            SpecError: The reference is remote, leads nowhere or to itself, or this
                operation has looked at more than NODES_MAX.
        """
        return self.follow(node)[0]

    def follow(self, node: object) -> tuple[Mapping[str, Any], str]:
        """Return what a node says, and the reference that it came by, if by any."""
        self._nodes += 1
        if self._nodes > NODES_MAX:
            msg = f"it refers to more than {NODES_MAX} schemas"
            raise SpecError(msg)
        last = ""
        for _ in range(REFERENCES_MAX):
            found = _object(node, "a schema or parameter")
            if "$ref" not in found:
                return found, last
            last = str(found["$ref"])
            node = self._at(last)
        msg = f"the reference {last[:80]!r} leads to itself"
        raise SpecError(msg)

    def _at(self, reference: str) -> object:
        if not reference.startswith("#/"):
            msg = f"the reference {reference[:80]!r} is remote; it is not fetched"
            raise SpecError(msg)
        node: object = self.document
        for part in reference[2:].split("/"):
            name = unquote(part).replace("~1", "/").replace("~0", "~")
            if isinstance(node, dict) and name in node:
                node = node[name]
            elif isinstance(node, list) and name.isdecimal() and int(name) < len(node):
                node = node[int(name)]
            else:
                msg = f"the reference {reference[:80]!r} leads nowhere"
                raise SpecError(msg)
        return node


def _object(node: object, what: str) -> Mapping[str, Any]:
    if not isinstance(node, dict):
        msg = f"{what} is no object"
        raise SpecError(msg)
    return node
