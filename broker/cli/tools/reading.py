"""Read an API description that somebody else wrote: bounded, strict, nothing fetched.

JSON and YAML come to the same values. A name that stands twice is refused in both:
two readers would see two documents. YAML is read with a safe loader and the words of
JSON (``on`` is no truth and ``2026-01-01`` no date), without anchors, aliases and tags,
so that a few lines cannot become millions.

Source: RFC 8259, section 4; YAML 1.2.2, section 10.2 (JSON schema).
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, Final, NoReturn

import yaml

FILE_BYTES_MAX: Final = 8 * 1024 * 1024
DEPTH_MAX: Final = 100
NODES_MAX: Final = 500_000


class ReadError(ValueError):
    """The file is not read; says what is wrong, where, and what to do."""


class _Loader(yaml.CSafeLoader):
    """A safe loader that knows JSON's words alone, and refuses names twice."""


_Loader.yaml_implicit_resolvers = {}
for _tag, _form, _first in (
    ("bool", r"true|false", "tf"),
    ("null", r"null|~|", ["n", "~", ""]),
    ("int", r"-?(0|[1-9][0-9]{0,17})", "-0123456789"),
    (
        "float",
        r"-?(0|[1-9][0-9]{0,17})(\.[0-9]{1,17})?([eE][-+]?[0-9]{1,3})?",
        "-0123456789",
    ),
):
    _Loader.add_implicit_resolver(
        f"tag:yaml.org,2002:{_tag}", re.compile(rf"^(?:{_form})$"), list(_first)
    )


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for key_node, value_node in node.value:
        # A status is often written as a number: the word counts.
        name = key_node.value
        where = f"line {key_node.start_mark.line + 1}"
        if not isinstance(name, str):
            msg = f"{where}: a name is text"
            raise ReadError(msg)
        if name in made:
            msg = f"{where}: {name[:80]!r} stands twice in one object"
            raise ReadError(msg)
        made[name] = loader.construct_object(value_node, deep=True)
    return made


_Loader.add_constructor("tag:yaml.org,2002:map", _mapping)


def read_description(path: Path) -> dict[str, Any]:
    """Return the object in a JSON or YAML file.

    Raises:
        ReadError: It is not there, over a limit, malformed, or no object.
    """
    try:
        with path.open("rb") as file:
            raw = file.read(FILE_BYTES_MAX + 1)
    except OSError as error:
        msg = f"{path}: {error.strerror}"
        raise ReadError(msg) from None
    if len(raw) > FILE_BYTES_MAX:
        msg = f"{path} has more than {FILE_BYTES_MAX} bytes; cut it to what is needed"
        raise ReadError(msg)
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        msg = f"{path} is no UTF-8"
        raise ReadError(msg) from None
    try:
        looks_json = text.lstrip()[:1] == "{" and path.suffix not in {".yaml", ".yml"}
        value = _json(text) if looks_json else _yaml(text)
    except ReadError as error:
        msg = f"{path}: {error}"
        raise ReadError(msg) from None
    if not isinstance(value, dict):
        msg = f"{path} holds no object"
        raise ReadError(msg)
    return value


def _json(text: str) -> object:
    _check_depth(text)
    try:
        return json.loads(text, object_pairs_hook=_once, parse_constant=_no_constant)
    except (json.JSONDecodeError, RecursionError) as error:
        msg = f"no JSON: {error}"
        raise ReadError(msg) from None
    except ReadError:
        raise
    except ValueError:
        msg = "no JSON: a number has too many digits"
        raise ReadError(msg) from None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        seen: set[str] = set()
        for name, _ in pairs:
            if name in seen:
                msg = f"{name[:80]!r} stands twice in one object"
                raise ReadError(msg)
            seen.add(name)
    return made


def _no_constant(word: str) -> NoReturn:
    msg = f"no JSON: {word} is no number"
    raise ReadError(msg)


def _check_depth(text: str) -> None:
    """Refuse nesting before it is parsed; what stands in strings does not count."""
    depth = 0
    found = re.finditer(r'"(?:[^"\\]|\\.)*+"|[\[{]|[\]}]|,', text, re.DOTALL)
    for nodes, match in enumerate(found, 1):
        mark = match.group()
        if mark in "[{":
            depth += 1
        elif mark in "]}":
            depth -= 1
        _check(depth, nodes)


def _yaml(text: str) -> object:
    depth = 0
    try:
        for nodes, event in enumerate(yaml.parse(text, Loader=_Loader), 1):
            if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
                msg = f"{_line(event)}: anchors and aliases are not read; write it out"
                raise ReadError(msg)
            tag = getattr(event, "tag", None)
            if tag is not None and tag != "!":
                msg = f"{_line(event)}: the tag {str(tag)[:40]!r} is not read"
                raise ReadError(msg)
            if isinstance(event, yaml.CollectionStartEvent):
                depth += 1
            elif isinstance(event, yaml.CollectionEndEvent):
                depth -= 1
            _check(depth, nodes)
        return yaml.load(text, Loader=_Loader)  # noqa: S506 (it is a SafeLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}: " if mark else ""
        msg = f"{where}no YAML: {getattr(error, 'problem', None) or 'malformed'}"
        raise ReadError(msg) from None


def _line(event: yaml.Event) -> str:
    mark = event.start_mark
    return f"line {mark.line + 1}" if mark else "somewhere"


def _check(depth: int, nodes: int) -> None:
    if depth > DEPTH_MAX:
        msg = f"nested more than {DEPTH_MAX} deep"
        raise ReadError(msg)
    if nodes > NODES_MAX:
        msg = f"more than {NODES_MAX} values"
        raise ReadError(msg)
