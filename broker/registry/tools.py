"""Manifests: what a tool is, can cause and may send. Data only; parsed, never executed.

A manifest is one TOML file in tools/catalog/<connector>/. Broker, edge and runner read
the same bytes; the digest of the parsed manifest is named in every warrant, so all of
them decide on the same version. The format is described in docs/manifests.md.
"""

from __future__ import annotations

import hashlib
import json
import re
from typing import TYPE_CHECKING, Any

from broker.core.warrants.template import check_form, check_path, places
from broker.core.words.effect import Effect
from broker.core.words.labels import Confidentiality, Integrity, Label
from broker.core.words.tool import (
    Binding,
    EgressRequest,
    ObjectBinding,
    OutputField,
    ProvenanceRule,
    ReceiptPointers,
    Tool,
)
from broker.registry.aftermath import (
    check_aftermath,
    read_find,
    read_reconcile,
    read_undo,
)
from broker.registry.fields import POINTER as _POINTER
from broker.registry.fields import STATUSES_MAX
from broker.registry.fields import flag as _flag
from broker.registry.fields import integer as _int
from broker.registry.fields import only as _only
from broker.registry.fields import statuses as _statuses
from broker.registry.fields import text as _text
from broker.registry.patterns import check_schema
from broker.registry.review import check_review, read_accepted

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "STATUSES_MAX",
    "Binding",
    "EgressRequest",
    "ManifestError",
    "ObjectBinding",
    "OutputField",
    "ProvenanceRule",
    "ReceiptPointers",
    "Tool",
    "manifest_digest",
    "parse_manifest",
]

SCHEMA_VERSION = 1
TOOL_NAME_LENGTH_MAX = 64
SCOPES_MAX = 16
REQUESTS_MAX = 16
RESPONSE_BYTES_MAX = 1_048_576
TIMEOUT_S_MAX = 30
RECEIPT_VALUES_MAX = 32
QUERY_FIELDS_MAX = 32
_NAME = re.compile(r"[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)+")
_TOOL_FIELDS = {
    "name",
    "version",
    "connector",
    "title",
    "description",
    "effect",
    "entry",
    "preload",
    "timeout_s",
}
_CONNECTOR = re.compile(r"[a-z][a-z0-9_]*")
_ENCODINGS = ("json", "form")
_WORD = re.compile(r"[a-z][a-z0-9_]{0,63}")
# Never a header that the edge itself sends, or one that changes how a message is read.
_HEADER = re.compile(r"[A-Za-z][A-Za-z0-9-]{0,59}-(Key|Id)")
_SCOPE = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]{1,100}")  # RFC 6749, section 3.3


_MANIFEST_FIELDS = {
    *("schema", "tool", "arguments", "binding", "egress", "receipt", "output"),
    *("review", "accepted", "reconcile", "undo"),
}


class ManifestError(ValueError):
    """A manifest that cannot be loaded; the message names file, field and remedy."""


def manifest_digest(data: Mapping[str, Any]) -> str:
    """Return the SHA-256 of the parsed manifest in a sorted, compact JSON form."""
    text = json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def parse_manifest(data: Mapping[str, Any], *, name: str) -> Tool:
    """Turn a parsed TOML document into a tool.

    Args:
        data: The document, as ``tomllib`` gives it.
        name: What to call it in errors, normally the file's name.

    Raises:
        ManifestError: a field is missing, unknown or out of range; a tool without an
            effect does not load.
    """
    try:
        return _parse(data)
    except (KeyError, TypeError, ValueError) as error:
        what = f"missing field {error}" if isinstance(error, KeyError) else str(error)
        msg = f"manifest {name}: {what}"
        raise ManifestError(msg) from error


def _parse(data: Mapping[str, Any]) -> Tool:
    _only(data, _MANIFEST_FIELDS, "manifest")
    if data["schema"] != SCHEMA_VERSION:
        msg = f"schema must be {SCHEMA_VERSION}"
        raise ValueError(msg)
    check_review(data)
    read_accepted(data)
    tool, egress = data["tool"], data["egress"]
    _only(tool, _TOOL_FIELDS, "[tool]")
    _only(egress, {"requests_max", "response_bytes_max", "requests"}, "[egress]")
    _check_names(tool)
    requests = tuple(_request(item) for item in egress["requests"])
    binding = _binding(data.get("binding", {}), arguments=_arguments(data))
    receipt = _receipt(data["receipt"], requests, data["arguments"])
    parsed = Tool(
        name=tool["name"],
        version=_int(tool["version"], "tool.version", low=1, high=1_000_000),
        connector=tool["connector"],
        title=tool["title"],
        description=tool["description"],
        effect=Effect(tool["effect"]),
        entry=tool["entry"],
        preload=_flag(tool.get("preload", False), "tool.preload"),
        timeout_s=_int(tool.get("timeout_s", 10), "tool.timeout_s", high=TIMEOUT_S_MAX),
        arguments=data["arguments"],
        binding=binding,
        requests=requests,
        requests_max=_int(
            egress.get("requests_max", 1), "egress.requests_max", high=REQUESTS_MAX
        ),
        response_bytes_max=_int(
            egress.get("response_bytes_max", 262_144),
            "egress.response_bytes_max",
            high=RESPONSE_BYTES_MAX,
        ),
        receipt=receipt,
        output=tuple(_field(item) for item in data.get("output", {}).get("fields", [])),
        digest=manifest_digest(data),
        reconcile=read_reconcile(data.get("reconcile"), binding, data["arguments"]),
        undo=read_undo(data.get("undo"), receipt, data["arguments"]),
    )
    _cross_check(parsed)
    return parsed


def _check_names(tool: Mapping[str, Any]) -> None:
    if not _NAME.fullmatch(tool["name"]) or len(tool["name"]) > TOOL_NAME_LENGTH_MAX:
        msg = f"tool.name {tool['name']!r} must look like 'orders.refund'"
        raise ValueError(msg)
    if not _CONNECTOR.fullmatch(tool["connector"]):
        msg = f"tool.connector {tool['connector']!r} must look like 'retail'"
        raise ValueError(msg)


def _cross_check(tool: Tool) -> None:
    for request in tool.requests:
        _check_places(tool, request)
    ids = [request.request_id for request in tool.requests]
    if not ids or len(set(ids)) != len(ids):
        msg = "egress.requests needs at least one request, each with its own id"
        raise ValueError(msg)
    effectful = [r for r in tool.requests if r.effectful]
    reads = tool.effect in {Effect.READ, Effect.DRAFT}
    check_aftermath(tool, reads=reads)
    if reads and effectful:
        msg = "a tool with effect read or draft may not have an effectful request"
        raise ValueError(msg)
    if not reads and [r.request_id for r in effectful] != [tool.receipt.request_id]:
        msg = "exactly one effectful request is needed, and [receipt] must name it"
        raise ValueError(msg)
    if tool.effect is Effect.MONEY and not (
        tool.binding.amount and tool.binding.currency
    ):
        msg = "effect money needs binding.amount and binding.currency"
        raise ValueError(msg)
    if tool.binding.needs_customer and "owner" not in tool.receipt.values:
        msg = "binding.needs_customer needs a receipt value 'owner'"
        raise ValueError(msg)
    if tool.effect is Effect.MONEY and not {"amount", "currency"} <= set(
        tool.receipt.values
    ):
        msg = "effect money needs receipt values 'amount' and 'currency'"
        raise ValueError(msg)


def _check_places(tool: Tool, request: EgressRequest) -> None:
    """Refuse a template that names what the decision cannot give."""
    where = f"egress request {request.request_id!r}"
    known = {f"args.{name}" for name in tool.arguments.get("properties", {})}
    required = {f"args.{name}" for name in tool.arguments.get("required", ())}
    always = {"action"} | ({"customer"} if tool.binding.needs_customer else set())
    used = {*places(dict(request.query)), *places(request.body)}
    for place in sorted(used - known - always):
        msg = f"{where}: {{{place}}} names no argument, or needs_customer is off"
        raise ValueError(msg)
    for place in sorted({*places(request.path)} - required - always):
        msg = f"{where}: {{{place}}} stands in the path and is no required argument"
        raise ValueError(msg)


def _arguments(data: Mapping[str, Any]) -> Mapping[str, Any]:
    schema: Mapping[str, Any] = data["arguments"]
    if (
        schema.get("type") != "object"
        or schema.get("additionalProperties", True) is not False
    ):
        msg = "[arguments] must be an object schema with additionalProperties = false"
        raise ValueError(msg)
    check_schema(schema)
    return schema


def _binding(raw: Mapping[str, Any], *, arguments: Mapping[str, Any]) -> Binding:
    _only(
        raw,
        {
            "amount",
            "currency",
            "objects",
            "provenance",
            "text",
            "needs_customer",
            "binds_customer",
        },
        "[binding]",
    )
    objects = tuple(
        ObjectBinding(item["pointer"], item["kind"], item.get("cap", ""))
        for item in raw.get("objects", [])
    )
    provenance = tuple(
        ProvenanceRule(item["pointer"], Integrity.from_word(item["integrity"]))
        for item in raw.get("provenance", [])
    )
    text = tuple(raw.get("text", []))
    amount, currency = raw.get("amount", ""), raw.get("currency", "")
    named = [o.pointer for o in objects] + [p.pointer for p in provenance]
    for pointer in [*named, *text, *filter(None, (amount, currency))]:
        if pointer.removeprefix("/") not in arguments.get("properties", {}):
            msg = f"binding pointer {pointer!r} names no argument"
            raise ValueError(msg)
    return Binding(
        amount=amount,
        currency=currency,
        objects=objects,
        provenance=provenance,
        text=text,
        needs_customer=_flag(raw.get("needs_customer", True), "needs_customer"),
        binds_customer=_flag(raw.get("binds_customer", False), "binds_customer"),
    )


def _request(raw: Mapping[str, Any]) -> EgressRequest:
    _only(
        raw,
        {
            "id",
            "method",
            "path",
            "query",
            "body",
            "body_encoding",
            "effectful",
            "idempotency_header",
            "idempotency_kept_s",
            "done",
            "refused",
            "times_max",
            "scopes",
        },
        "egress.requests",
    )
    if raw["method"] not in {"GET", "POST", "PUT", "PATCH", "DELETE"}:
        msg = f"egress method {raw['method']!r} is not known"
        raise ValueError(msg)
    check_path(raw["path"])
    request = EgressRequest(
        request_id=_text(raw["id"], "egress.requests.id", _WORD),
        method=raw["method"],
        path=raw["path"],
        query=raw.get("query", {}),
        body=raw.get("body"),
        form=_encoding(raw) == "form",
        effectful=_flag(raw.get("effectful", False), "effectful"),
        idempotency_header=_text(
            raw.get("idempotency_header", ""), "idempotency_header", _HEADER, empty=True
        ),
        idempotency_kept_s=_int(
            raw.get("idempotency_kept_s", 0), "idempotency_kept_s", low=0, high=10**8
        ),
        done=_statuses(raw.get("done", [200]), "done", low=200, high=299),
        refused=_statuses(raw.get("refused", []), "refused", low=400, high=599),
        times_max=_int(raw.get("times_max", 1), "times_max", high=REQUESTS_MAX),
        scopes=_scopes(raw.get("scopes", [])),
    )
    _check_request(request)
    return request


def _encoding(raw: Mapping[str, Any]) -> str:
    word = raw.get("body_encoding", "json")
    if word not in _ENCODINGS or ("body_encoding" in raw and "body" not in raw):
        msg = f"body_encoding says how a body is sent: {' or '.join(_ENCODINGS)}"
        raise ValueError(msg)
    return str(word)


def _scopes(value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or len(value) > SCOPES_MAX:
        msg = f"scopes is a list of at most {SCOPES_MAX} words"
        raise ValueError(msg)
    return tuple(_text(item, "a scope", _SCOPE) for item in value)


def _check_request(request: EgressRequest) -> None:
    if request.method == "GET" and (request.body is not None or request.effectful):
        msg = "a GET has no body and is not effectful"
        raise ValueError(msg)
    if request.effectful and request.times_max != 1:
        msg = "an effectful request is sent once: times_max must be 1"
        raise ValueError(msg)
    if not request.done:
        msg = "done names at least one status"
        raise ValueError(msg)
    if request.body is not None and not isinstance(request.body, dict):
        msg = "a body is a table"
        raise ValueError(msg)
    if request.form and request.body is not None:
        check_form(request.body)
    query = request.query
    if not isinstance(query, dict) or len(query) > QUERY_FIELDS_MAX:
        msg = f"query is a table of at most {QUERY_FIELDS_MAX} fields"
        raise ValueError(msg)
    if not all(isinstance(value, str) for value in query.values()):
        msg = "a query field is a string"
        raise ValueError(msg)


def _receipt(
    raw: Mapping[str, Any],
    requests: tuple[EgressRequest, ...],
    arguments: Mapping[str, Any],
) -> ReceiptPointers:
    _only(raw, {"request", "values", "find"}, "[receipt]")
    if raw["request"] not in {request.request_id for request in requests}:
        msg = f"receipt.request {raw['request']!r} names no egress request"
        raise ValueError(msg)
    values = raw.get("values", {})
    if not isinstance(values, dict) or len(values) > RECEIPT_VALUES_MAX:
        msg = f"receipt.values is a table of at most {RECEIPT_VALUES_MAX} pointers"
        raise ValueError(msg)
    for name, pointer in values.items():
        _text(name, "a name in receipt.values", _WORD)
        _text(pointer, f"receipt.values.{name}", _POINTER)
    return ReceiptPointers(raw["request"], values, read_find(raw, arguments))


def _field(raw: Mapping[str, Any]) -> OutputField:
    _only(
        raw,
        {"pointer", "class", "integrity", "confidentiality", "shows"},
        "output.fields",
    )
    return OutputField(
        pointer=raw["pointer"],
        data_class=raw["class"],
        label=Label(
            Integrity.from_word(raw["integrity"]),
            Confidentiality(raw["confidentiality"]),
        ),
        shows=raw.get("shows", ""),
    )
