"""Lint rules about what a call may carry in: arguments and how they are bound."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from broker.core.warrants.template import places
from broker.core.words.effect import Effect

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from broker.core.words.tool import Tool

Told: TypeAlias = tuple[str, str]
"""A place in the manifest, and what is wrong there."""

SHORT_TEXT_CHARS_MAX: Final = 64
"""Longer text can talk somebody into something: people and guards must see it."""

_PROBES = ("../admin", "a b", "%2e%2e", "x" * 257, "0" * 257, "")
_AMOUNT = re.compile(
    r"(^|_)(amount|total|price|sum|cents|minor_units|credit|debit)(_|$)"
)
_ID = re.compile(r"(^|_)(id|ids|uuid|number|key)$")


def free_path(tool: Tool) -> Iterator[Told]:
    """Find text in a path that could be anything: it chooses what is reached."""
    for request in tool.requests:
        for name in _arguments_in(request.path):
            schema = _schema(tool, name)
            if schema.get("type", "string") == "string" and not _narrow(schema):
                yield (
                    f"arguments.{name}",
                    f"stands in the path of '{request.request_id}' and may be any text",
                )


def free_query(tool: Tool) -> Iterator[Told]:
    """Find text in a query that could be anything."""
    for request in tool.requests:
        for name in _arguments_in(dict(request.query)):
            schema = _schema(tool, name)
            text = schema.get("type", "string") == "string"
            if text and not ("enum" in schema or "pattern" in schema):
                yield (
                    f"arguments.{name}",
                    f"stands in the query of '{request.request_id}' and is free text",
                )


def unbounded_text(tool: Tool) -> Iterator[Told]:
    """Find text without a length."""
    for where, schema in _all(tool):
        if schema.get("type") == "string" and not (
            {"maxLength", "enum", "const"} & set(schema) or _narrow(schema)
        ):
            yield where, "is text of any length"


def unbounded_list(tool: Tool) -> Iterator[Told]:
    """Find lists without an end, and objects with fields that nobody named."""
    for where, schema in _all(tool):
        if schema.get("type") == "array" and "maxItems" not in schema:
            yield where, "is a list of any length"
        elif (
            schema.get("type") == "object"
            and schema.get("additionalProperties") is not False
        ):
            yield where, "is an object with any fields"
        elif not {"type", "enum", "const"} & set(schema):
            yield where, "may be any JSON value"


def unread_text(tool: Tool) -> Iterator[Told]:
    """Find long free text that neither guards nor approvers are shown as text."""
    if tool.effect in {Effect.READ, Effect.DRAFT}:
        return
    for name, schema in tool.arguments.get("properties", {}).items():
        long = schema.get("maxLength", SHORT_TEXT_CHARS_MAX + 1) > SHORT_TEXT_CHARS_MAX
        free = schema.get("type") == "string" and not (
            "enum" in schema or _narrow(schema)
        )
        if free and long and f"/{name}" not in tool.binding.text:
            yield f"arguments.{name}", "is free text that nobody looks at"


def unbound_object(tool: Tool) -> Iterator[Told]:
    """Find identifiers that may name what was never shown in this interaction."""
    bound = {item.pointer for item in tool.binding.objects}
    bound |= {item.pointer for item in tool.binding.provenance}
    in_path = {name for one in tool.requests for name in _arguments_in(one.path)}
    for name, schema in tool.arguments.get("properties", {}).items():
        if "enum" in schema or "const" in schema or f"/{name}" in bound:
            continue
        if name in in_path or _ID.search(name):
            yield f"arguments.{name}", "names an object that need not have been shown"


def hidden_amount(tool: Tool) -> Iterator[Told]:
    """Find amounts that leave with a tool whose effect is not money."""
    if tool.effect in {Effect.MONEY, Effect.READ, Effect.DRAFT}:
        return
    for request in tool.requests:
        for name in _arguments_in(request.body):
            schema = _schema(tool, name)
            if schema.get("type") in {"integer", "number"} and _AMOUNT.search(name):
                yield (
                    f"arguments.{name}",
                    f"looks like an amount, and the effect is {tool.effect.value}",
                )


def amount_range(tool: Tool) -> Iterator[Told]:
    """Find an amount that may be zero, negative, a fraction or without an end."""
    if not tool.binding.amount:
        return
    name = tool.binding.amount.removeprefix("/")
    schema = _schema(tool, name)
    low, high = schema.get("minimum"), schema.get("maximum")
    if schema.get("type") != "integer" or type(low) is not int or low < 1:
        yield f"arguments.{name}", "may be zero, negative or a fraction"
    elif type(high) is not int:
        yield f"arguments.{name}", "has no maximum"


def free_currency(tool: Tool) -> Iterator[Told]:
    """Find a currency that could be any."""
    if not tool.binding.currency:
        return
    name = tool.binding.currency.removeprefix("/")
    if not {"enum", "const"} & set(_schema(tool, name)):
        yield f"arguments.{name}", "may be any currency"


def no_ceiling(tool: Tool) -> Iterator[Told]:
    """Find money that no object's own ceiling bounds."""
    if tool.effect is Effect.MONEY and not any(
        item.cap in tool.receipt.values for item in tool.binding.objects if item.cap
    ):
        yield (
            "binding.objects",
            "nothing that the upstream says bounds all amounts moved on one object",
        )


def _arguments_in(template: object) -> list[str]:
    found = [place for place in places(template) if place.startswith("args.")]
    return [place.removeprefix("args.") for place in dict.fromkeys(found)]


def _schema(tool: Tool, name: str) -> Mapping[str, Any]:
    schema: Mapping[str, Any] = tool.arguments.get("properties", {}).get(name, {})
    return schema


def _narrow(schema: Mapping[str, Any]) -> bool:
    """Return whether this takes a few words only, judged by what it lets pass."""
    if "enum" in schema or "const" in schema:
        return True
    pattern = schema.get("pattern", "")
    if not (pattern.startswith("^") and pattern.endswith("$")):
        return False
    try:
        form = re.compile(pattern)
    except re.error:
        return False
    most = schema.get("maxLength", SHORT_TEXT_CHARS_MAX * 4)
    return not any(len(one) <= most + 1 and form.search(one) for one in _PROBES)


def _all(tool: Tool) -> Iterator[tuple[str, Mapping[str, Any]]]:
    waiting: list[tuple[str, Any]] = [
        (f"arguments.{name}", schema)
        for name, schema in tool.arguments.get("properties", {}).items()
    ]
    while waiting:
        where, schema = waiting.pop(0)
        if not isinstance(schema, dict):
            continue
        yield where, schema
        waiting.extend(
            (f"{where}.{name}", inner)
            for name, inner in schema.get("properties", {}).items()
        )
        if "items" in schema:
            waiting.append((f"{where}.*", schema["items"]))
