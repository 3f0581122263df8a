"""The API's own page: what the OpenAPI document says, read without any script.

FastAPI's page would load one from somebody else's server, on the origin where people
sign in.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from fastapi import APIRouter, Request

from broker.api.console import drawing

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from starlette.responses import Response

router = APIRouter(include_in_schema=False)
PATH: Final = "/docs"
_METHODS: Final = ("get", "post", "put", "patch", "delete")


@router.get(PATH)
async def reference(request: Request) -> Response:
    """Show every operation by its group."""
    document = request.app.openapi()
    groups: dict[str, list[dict[str, Any]]] = {}
    for operation in _operations(document):
        groups.setdefault(operation["group"], []).append(operation)
    values = {"about": document["info"], "groups": groups}
    return drawing.page("reference.html", values)


def _operations(document: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for path, methods in document["paths"].items():
        for method in _METHODS:
            found = methods.get(method)
            if found is not None:
                yield _operation(document, path, method, found)


def _operation(
    document: Mapping[str, Any], path: str, method: str, found: Mapping[str, Any]
) -> dict[str, Any]:
    """Return what the page shows of an operation."""
    parameters = [_resolved(document, one) for one in found.get("parameters", [])]
    return {
        "group": (found.get("tags") or ["other"])[0],
        "method": method.upper(),
        "path": path,
        "summary": found.get("summary", ""),
        "description": _words(found),
        "parameters": [(one["name"], one["in"], _words(one)) for one in parameters],
        "fields": list(_fields(document, found)),
        "examples": list(_examples(document, found)),
        "answers": [
            (status, _words(_resolved(document, answer)))
            for status, answer in found.get("responses", {}).items()
        ],
    }


def _fields(
    document: Mapping[str, Any], found: Mapping[str, Any]
) -> Iterator[tuple[str, str, bool, str]]:
    """Give name, type, need and description of each field of a body."""
    body = _resolved(document, found.get("requestBody", {}))
    for content in body.get("content", {}).values():
        schema = _resolved(document, content.get("schema", {}))
        needed = schema.get("required", [])
        for name, raw in schema.get("properties", {}).items():
            field = _resolved(document, raw)
            yield name, _type(field), name in needed, _words(field)


def _examples(
    document: Mapping[str, Any], found: Mapping[str, Any]
) -> Iterator[tuple[str, str]]:
    """Give a name and the text of each example: what is sent, and what comes back."""
    bodies = [("request", _resolved(document, found.get("requestBody", {})))]
    bodies += [
        (status, _resolved(document, answer))
        for status, answer in found.get("responses", {}).items()
    ]
    for where, body in bodies:
        for content in body.get("content", {}).values():
            if "example" in content:
                yield where, _shown(content["example"])
            for name, one in content.get("examples", {}).items():
                yield f"{where}, {name.replace('_', ' ')}", _shown(one["value"])


def _shown(example: object) -> str:
    return example if isinstance(example, str) else json.dumps(example, indent=2)


def _words(described: Mapping[str, Any]) -> str:
    """Return a description without the marks that only Markdown would show as code."""
    return str(described.get("description", "")).replace("`", "")


def _type(schema: Mapping[str, Any]) -> str:
    if "anyOf" in schema:
        return " or ".join(_type(one) for one in schema["anyOf"])
    return str(schema.get("type", "object"))


def _resolved(
    document: Mapping[str, Any], value: Mapping[str, Any]
) -> Mapping[str, Any]:
    """Follow one reference within the document."""
    place = value.get("$ref", "")
    if not place.startswith("#/"):
        return value
    found: Any = document
    for step in place[2:].split("/"):
        found = found.get(step, {})
    return found if isinstance(found, dict) else {}
