"""Which refusals an operation may answer with, and what each looks like.

Three languages are spoken: problems (RFC 9457) almost everywhere, OAuth's errors where
tokens are issued, JSON-RPC's in MCP.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from broker.api.document.examples import PROBLEM_EXAMPLE
from broker.core.words import errors

if TYPE_CHECKING:
    from collections.abc import Mapping

PROBLEM: Final = "application/problem+json"
JSON: Final = "application/json"
REFUSALS_FROM: Final = "400"
_OAUTH: Final = {400, 401, 429, 503}
_MCP: Final = {202, 400, 401, 403, 404, 406, 413, 415, 503}
_NAME_OTHERS: Final = {
    "/v1/admin/canaries/on",
    "/v1/notices/reject",
    "/v1/admin/credentials/probes",
    "/v1/admin/notifications",
    "/v1/decisions",
    "/v1/policy/proposal",
    "/v1/policy/proposal/approval",
    "/v1/policy/proposal/withdrawal",
}
"""Their bodies name something that may not be there, or speak of what may not be."""
_PROBLEMS_IN_MCP: Final = {401, 403, 503}


def refusal_schemas() -> dict[str, dict[str, Any]]:
    """Return the schemas of refusals, by name."""
    return {
        "Problem": problem_schema(),
        "OAuthError": _oauth_schema(),
        "RpcError": _rpc_schema(),
    }


def success_words(method: str, status: str) -> str:
    """Say what came of it when all went well; better than that it did."""
    return {
        "200": "What was asked for." if method == "GET" else "Done: how it is now.",
        "201": "Made: this is it.",
        "202": "Asked: somebody has to agree, and nothing is changed until then.",
    }[status]


def form_of(path: str, status: int) -> dict[str, Any]:
    """Return the content of a refusal of this path."""
    if path.startswith("/oauth"):
        return {JSON: {"schema": _ref("OAuthError")}}
    if path == "/mcp" and status not in _PROBLEMS_IN_MCP:
        return {JSON: {"schema": _ref("RpcError")}}
    return {PROBLEM: {"schema": _ref("Problem")}}


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


def statuses(method: str, path: str, operation: Mapping[str, Any]) -> set[int]:
    """Return the problems that this operation may answer with."""
    if path == "/mcp":
        return _MCP
    if path.startswith("/oauth") and method == "POST":
        return _OAUTH
    found = {503}
    if operation["security"] or path.startswith("/v1/interactions"):
        found |= {401, 403}
    if "{" in path or path in _NAME_OTHERS:
        found.add(404)
    if operation.get("parameters"):
        found.add(422)
    if method in {"POST", "PUT", "PATCH"}:
        found |= {400, 413, 422} if "requestBody" in operation else {400}
    if path.startswith("/v1/") and method in {"POST", "DELETE", "PUT"}:
        found.add(409)
    if path == "/v1/actions" and method == "POST":
        found.add(429)
    return found


def words(status: int) -> str:
    """Say what a status means here."""
    return {
        202: "Taken; there is nothing to answer.",
        400: "The body is not what it has to be: media type, encoding, JSON or form.",
        401: "A valid token, or a valid proof, is needed.",
        403: "Known, and not allowed; or denied, with reasons.",
        404: "There is no such thing for this caller.",
        406: "`Accept` leaves out what is answered here.",
        409: "It is not in a state that allows this, or it changed meanwhile.",
        413: "It is longer or deeper than the limits allow.",
        415: "It is not of the media type that is read here.",
        422: "A field is missing, unknown or of the wrong form; `pointer` names it.",
        429: "Too many calls; `Retry-After` and `RateLimit` say when again.",
        503: "It cannot be decided now, and nothing was done; `Retry-After` says when.",
    }[status]


def _oauth_schema() -> dict[str, Any]:
    return {
        "type": "object",
        "description": "An error of OAuth (RFC 6749, section 5.2; RFC 9449).",
        "required": ["error"],
        "properties": {
            "error": {"type": "string"},
            "error_description": {"type": "string"},
        },
        "examples": [
            {
                "error": "invalid_client",
                "error_description": "the client assertion was used before",
            }
        ],
    }


def _rpc_schema() -> dict[str, Any]:
    return {
        "type": "object",
        "description": "An error of JSON-RPC; with revision 2025-11-25 its status is "
        "200, or clients would take it for the end of the connection.",
        "required": ["jsonrpc", "id", "error"],
        "properties": {
            "jsonrpc": {"const": "2.0"},
            "id": {"type": ["integer", "string", "null"]},
            "error": {
                "type": "object",
                "required": ["code", "message"],
                "properties": {
                    "code": {"type": "integer"},
                    "message": {"type": "string"},
                    "data": {"type": "object"},
                },
            },
        },
        "examples": [
            {
                "jsonrpc": "2.0",
                "id": 1,
                "error": {"code": -32601, "message": "there is no such method here"},
            }
        ],
    }


def _ref(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}
