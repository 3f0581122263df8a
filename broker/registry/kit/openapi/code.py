"""Write the connector's code: one function per tool, which sends its one request."""

from __future__ import annotations

import json
import keyword
import re
import string
from typing import TYPE_CHECKING, Any

from broker.registry.kit.openapi.draft import LIST_RESULT

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from broker.registry.kit.openapi.draft import Draft

_PLACE = re.compile(r"\{(args\.([a-z][a-z0-9_]*)|customer|action)\}")
_SDK = ("ABSENT", "Call", "accept", "accept_empty", "given", "segment")
_INDENT = "    "
_LINE_CHARS = 88
_PROSE = frozenset(f"{string.ascii_letters}{string.digits} .,:;/_{{}}()-")
PROSE_CHARS_MAX = 60
_TAKEN = frozenset({"call", "response", "query", "body", "given", "segment", "accept"})


def connector_code(title: str, drafts: Iterable[Draft]) -> str:
    """Return a module with a function for each draft.

    What it sends is what its manifest says; the edge compares the two.
    """
    functions = [_function(draft) for draft in drafts]
    body = "\n\n".join(functions)
    used = _used(body)
    return (
        f'"""Speak to {_prose(title)}: one function per tool, one request each."""\n\n'
        f"from tools.sdk import {', '.join(used)}\n\n\n{body}"
    )


def function_code(draft: Draft) -> tuple[str, list[str]]:
    """Return one function, and what it needs of `tools.sdk`."""
    function = _function(draft)
    return function, _used(function)


def _used(code: str) -> list[str]:
    return [name for name in _SDK if re.search(rf"\b{name}\b", code)]


def _function(draft: Draft) -> str:
    lines = [f"def {draft.entry}(call: Call) -> dict[str, object]:"]
    lines.append(f'{_INDENT}"""Send {_prose(draft.operation)}."""')
    path = _PLACE.sub(lambda match: f"{{{_name(match)}}}", draft.path)
    for match in _PLACE.finditer(draft.path):
        source = f"segment({_source(match, required=True)})"
        lines.append(f"{_INDENT}{_name(match)} = {source}")
    quoted = f'{"f" if "{" in path else ""}"{path}"'
    arguments = [json.dumps(draft.method), quoted]
    if draft.query:
        lines.extend(_given("query", draft.query, set(draft.required)))
        arguments.append("query={name: str(value) for name, value in query.items()}")
    if draft.body is not None:
        lines.extend(_given("body", draft.body, set(draft.required)))
        arguments.append("json=body")
    sent = f"{_INDENT}response = call.http.request({', '.join(arguments)})"
    if len(sent) > _LINE_CHARS:
        lines.append(f"{_INDENT}response = call.http.request(")
        lines.extend(f"{_INDENT * 2}{one}," for one in arguments)
        lines.append(f"{_INDENT})")
    else:
        lines.append(sent)
    statuses = ", ".join(str(one) for one in draft.done)
    if draft.answers_nothing:
        lines.append(f"{_INDENT}return accept_empty(response, {statuses})")
    elif draft.answers_list:
        lines.append(
            f'{_INDENT}return accept(response, {statuses}, listed="{LIST_RESULT}")'
        )
    else:
        lines.append(f"{_INDENT}return accept(response, {statuses})")
    return "\n".join(lines) + "\n"


def _prose(text: str) -> str:
    """Return somebody's words such that they cannot end a docstring, or hide in it."""
    clean = "".join(one for one in text if one in _PROSE)
    return clean[:PROSE_CHARS_MAX].strip() or "the upstream"


def _name(match: re.Match[str]) -> str:
    name = match.group(2) or match.group(1)
    return f"{name}_" if keyword.iskeyword(name) or name in _TAKEN else name


def _source(match: re.Match[str], *, required: bool) -> str:
    if match.group(2) is None:
        return f"call.{match.group(1)}"
    name = match.group(2)
    if required:
        return f'call.arguments["{name}"]'
    return f'call.arguments.get("{name}", ABSENT)'


def _given(what: str, table: Mapping[str, Any], required: set[str]) -> list[str]:
    lines = _table(table, required, depth=2)
    return [f"{_INDENT}{what} = given(", *lines, f"{_INDENT})"]


def _table(table: Mapping[str, Any], required: set[str], *, depth: int) -> list[str]:
    pad = _INDENT * depth
    lines = [f"{pad}{{"]
    for name, value in table.items():
        shown = json.dumps(name, ensure_ascii=True)
        if isinstance(value, dict):
            inner = _table(value, required, depth=depth + 1)
            lines.append(f"{pad}{_INDENT}{shown}: {inner[0].strip()}")
            lines.extend(inner[1:])
            lines[-1] += ","
            continue
        match = _PLACE.fullmatch(value) if isinstance(value, str) else None
        if match is not None:
            source = _source(match, required=match.group(2) in required)
        elif isinstance(value, str):
            source = json.dumps(value, ensure_ascii=True)
        else:
            source = repr(value)
        lines.append(f"{pad}{_INDENT}{shown}: {source},")
    return [*lines, f"{pad}}}"]
