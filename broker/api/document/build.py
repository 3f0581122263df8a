"""Complete the document that FastAPI derives."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from fastapi.openapi.utils import get_openapi

from broker.api.document.examples import ANSWERS, PROBLEM_EXAMPLE, REQUESTS
from broker.api.document.parameters import describe
from broker.api.document.tidy import hoist, name_shortly
from broker.core.words import errors

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from fastapi import FastAPI

PROBLEM: Final = "application/problem+json"
METHODS: Final = frozenset({"get", "post", "put", "patch", "delete"})

# By the beginning of a path, the longest that fits: who calls, and how they show it.
_CALLERS: Final[Mapping[str, list[dict[str, list[str]]]]] = {
    "/v1/": [{"agent_dpop": []}, {"agent_bearer": []}],
    "/mcp": [{"agent_dpop": []}, {"agent_bearer": []}],
    "/v1/interactions": [],
    "/v1/notices": [],
    "/v1/approvals": [{"person_dpop": []}],
    "/v1/admin": [{"person_dpop": []}],
    "/v1/console": [{"person_dpop": []}],
    "/v1/policy": [{"person_dpop": []}],
    "/oauth": [],
    "/.well-known": [],
}
_TAGS: Final = [
    {"name": "actions", "description": "For agents: ask, and see what became of it."},
    {"name": "mcp", "description": "The same for MCP clients."},
    {"name": "interactions", "description": "For channels: who is in a conversation."},
    {"name": "approvals", "description": "For people: what waits, the card, the vote."},
    {"name": "registry", "description": "For security: agents and people."},
    {"name": "console", "description": "For people: the way into the console."},
    {"name": "policy", "description": "For compliance: versions, proposals, consent."},
    {"name": "decisions", "description": "For agents: what would be decided."},
    {"name": "identity", "description": "Tokens (RFC 6749, 7523, 8707, 9396, 9449)."},
]
_PROBLEMS_FROM: Final = "400"
_SCHEMES: Final = {
    "agent_dpop": {
        "type": "http",
        "scheme": "DPoP",
        "description": "An agent's token with a proof in the DPoP header (RFC 9449).",
    },
    "agent_bearer": {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "at+jwt",
        "description": "An agent's token without proof of possession: whatever needs a "
        "signature then waits for a person, also under a standing approval.",
    },
    "person_dpop": {
        "type": "http",
        "scheme": "DPoP",
        "description": "A person's token for /console, with a proof (RFC 9449).",
    },
}


def document(app: FastAPI) -> dict[str, Any]:
    """Return the document, made once."""
    if app.openapi_schema is None:
        made = get_openapi(
            title=app.title,
            version=app.version,
            description=app.description,
            routes=app.routes,
            tags=_TAGS,
        )
        _complete(made)
        app.openapi_schema = made
    return app.openapi_schema


def operations(made: Mapping[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield (METHOD, path, operation) of a document."""
    for path, item in made["paths"].items():
        for method, operation in item.items():
            if method in METHODS:
                yield method.upper(), path, operation


def _complete(made: dict[str, Any]) -> None:
    components = made.setdefault("components", {})
    components["securitySchemes"] = dict(_SCHEMES)
    schemas = components.setdefault("schemas", {})
    for ours in ("HTTPValidationError", "ValidationError"):
        # FastAPI's own answer to a wrong parameter is never given.
        schemas.pop(ours, None)
    schemas["Problem"] = problem_schema()
    name_shortly(operations(made))
    for method, path, operation in operations(made):
        for content in operation.get("requestBody", {}).get("content", {}).values():
            hoist(content["schema"], schemas)
        describe(operation)
        security = _security(path)
        operation["security"] = security
        answers = operation["responses"]
        if _is_theirs(answers.get("422")):
            del answers["422"]
        declared = {int(status) for status in answers if status >= _PROBLEMS_FROM}
        for status in declared | _statuses(method, path, operation):
            answer = answers.setdefault(str(status), {"description": _words(status)})
            answer["content"] = {PROBLEM: {"schema": _ref("Problem")}}
        _examples(method, path, operation)
        operation["responses"] = dict(sorted(answers.items()))


def problem_schema() -> dict[str, Any]:
    """Return the schema of every problem that is answered (RFC 9457)."""
    text = {"type": "string"}
    return {
        "type": "object",
        "description": "What happened, and what to do next (RFC 9457). docs/errors.md "
        "has a section for each stable `code`.",
        "required": ["type", "title", "status", "code", "detail"],
        "properties": {
            "type": text | {"format": "uri-reference"},
            "title": text,
            "status": {"type": "integer", "minimum": 400, "maximum": 599},
            "code": text | {"enum": codes()},
            "detail": text,
            "hint": text,
            "pointer": text | {"description": "JSON pointer of the field at fault."},
            "reasons": {
                "type": "array",
                "items": {"type": "object", "properties": {"code": text}},
                "description": "Of a denial: stable codes, no numbers.",
            },
        },
        "examples": [PROBLEM_EXAMPLE],
    }


def codes() -> list[str]:
    """Return every code that a problem can have."""
    found = {"denied"}
    waiting = [errors.BrokerError]
    while waiting:
        kind = waiting.pop()
        found.add(kind.code)
        waiting += kind.__subclasses__()
    return sorted(found)


def _security(path: str) -> list[dict[str, list[str]]]:
    fits = [begin for begin in _CALLERS if path.startswith(begin)]
    return _CALLERS[max(fits, key=len)] if fits else []


def _statuses(method: str, path: str, operation: Mapping[str, Any]) -> set[int]:
    """Return the problems that this operation may answer with."""
    found = {503}
    if operation["security"]:
        found |= {401, 403}
    if "{" in path:
        found.add(404)
    if operation.get("parameters"):
        found.add(422)
    if method in {"POST", "PUT", "PATCH"}:
        found |= {400, 413, 422} if "requestBody" in operation else {400}
    if path.startswith("/v1/") and method in {"POST", "DELETE", "PUT"}:
        found.add(409)
    if path in {"/v1/actions", "/mcp"} and method == "POST":
        found.add(429)
    if path.startswith(("/oauth", "/.well-known")):
        # OAuth has a form of its own for its errors (RFC 6749, section 5.2).
        found &= {413, 503}
    return found


def _is_theirs(answer: Mapping[str, Any] | None) -> bool:
    return answer is not None and "HTTPValidationError" in str(answer)


def _words(status: int) -> str:
    return {
        400: "The body is not what it has to be: media type, encoding, JSON or form.",
        401: "A valid token, or a valid proof, is needed.",
        403: "Known, and not allowed; or denied, with reasons.",
        404: "There is no such thing for this caller.",
        409: "It is not in a state that allows this, or it changed meanwhile.",
        413: "It is longer or deeper than the limits allow.",
        422: "A field is missing, unknown or of the wrong form; `pointer` names it.",
        429: "Too many calls; `Retry-After` and `RateLimit` say when again.",
        503: "It cannot be decided now, and nothing was done; `Retry-After` says when.",
    }[status]


def _examples(method: str, path: str, operation: dict[str, Any]) -> None:
    asked = REQUESTS.get((method, path))
    if asked is not None:
        for content in operation["requestBody"]["content"].values():
            content["example"] = asked
    for key, answer in ANSWERS.items():
        if key[:2] == (method, path):
            content = operation["responses"][key[2]].setdefault("content", {})
            kind = PROBLEM if key[2] >= _PROBLEMS_FROM else "application/json"
            content.setdefault(kind, {})["example"] = answer


def _ref(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}
