"""Complete the document that FastAPI derives."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from fastapi.openapi.utils import get_openapi

from broker.api.document.examples import ANSWERS, REQUESTS
from broker.api.document.parameters import describe
from broker.api.document.refusals import (
    REFUSALS_FROM,
    form_of,
    refusal_schemas,
    statuses,
    success_words,
    words,
)
from broker.api.document.tidy import hoist, name_shortly
from broker.api.document.variants import MORE_ANSWERS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from fastapi import FastAPI

_JSON: Final = "application/json"
_THEIR_WORDS: Final = "Successful Response"
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
    schemas.update(refusal_schemas())
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
        for status, answer in answers.items():
            if answer["description"] == _THEIR_WORDS:
                answer["description"] = success_words(method, status)
        declared = {int(status) for status in answers if status >= REFUSALS_FROM}
        for status in declared | statuses(method, path, operation):
            answer = answers.setdefault(str(status), {"description": words(status)})
            if status >= int(REFUSALS_FROM):
                answer["content"] = form_of(path, status)
        _examples(method, path, operation)
        operation["responses"] = dict(sorted(answers.items()))


def _security(path: str) -> list[dict[str, list[str]]]:
    fits = [begin for begin in _CALLERS if path.startswith(begin)]
    return _CALLERS[max(fits, key=len)] if fits else []


def _is_theirs(answer: Mapping[str, Any] | None) -> bool:
    return answer is not None and "HTTPValidationError" in str(answer)


def _examples(method: str, path: str, operation: dict[str, Any]) -> None:
    asked = REQUESTS.get((method, path))
    if asked is not None:
        for content in operation["requestBody"]["content"].values():
            content["example"] = asked
    for key, answer in ANSWERS.items():
        if key[:2] != (method, path):
            continue
        contents = operation["responses"][key[2]].setdefault("content", {})
        [content] = contents.values() or [contents.setdefault(_JSON, {})]
        more = MORE_ANSWERS.get(key, {})
        if more:
            shown = {"usual": answer} | more
            content["examples"] = {name: {"value": one} for name, one in shown.items()}
        else:
            content["example"] = answer
