"""Read schemas: flatten them, narrow what goes in, list the leaves of what comes out.

What a schema leaves open is closed here with a guess, and the guess is noted, so that a
person is asked.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from broker.registry.kit.openapi import names
from broker.registry.kit.openapi.spec import SCHEMA_DEPTH_MAX, SpecError
from broker.registry.patterns import PatternError, check_pattern

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from broker.registry.kit.openapi.spec import Spec

ID_PATTERN: Final = "^[A-Za-z0-9_-]{1,64}$"
TEXT_CHARS_MAX: Final = 2_000
WORD_CHARS_MAX: Final = 64
STATED_CHARS_MAX: Final = 10_000
ITEMS_MAX: Final = 20
ENUM_MAX: Final = 64
UNSTATED_CHARS: Final = 254
LEAVES_MAX: Final = 48
INTEGER_MAX: Final = 2**53 - 1

Above: TypeAlias = tuple[str, ...]
"""The references that led to a schema, one per level; empty where there was none."""

_FORMATS: Final = {
    "date": "^[0-9]{4}-[0-9]{2}-[0-9]{2}$",
    "date-time": "^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]{5,18}(Z|[+-][0-9]{2}:[0-9]{2})$",
    "uuid": "^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$",
    "email": "^[^@ ]{1,64}@[A-Za-z0-9.-]{1,190}$",
}


@dataclass(slots=True)
class Notes:
    """What was guessed while schemas were read, by field."""

    patterns: list[str] = field(default_factory=list)
    lengths: list[str] = field(default_factory=list)
    fractions: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Leaf:
    """A scalar of an answer: where it is, what it is, and what it belongs to."""

    pointer: str
    name: str
    parent: str
    schema: Mapping[str, Any]

    @property
    def in_list(self) -> bool:
        """Return whether there may be many of it."""
        return "/*" in self.pointer


def plain(spec: Spec, node: object, *, depth: int = 0) -> Mapping[str, Any]:
    """Return a schema with its reference followed, allOf merged, null taken out.

    Raises:
        SpecError: It cannot be read, or is made of itself; see `Spec.resolve`.
    """
    if depth > SCHEMA_DEPTH_MAX:
        msg = "a schema is made of itself, or of too many others"
        raise SpecError(msg)
    schema = spec.resolve(node)
    for word in ("anyOf", "oneOf"):
        choices = schema.get(word)
        if isinstance(choices, list):
            real = [one for one in choices if one != {"type": "null"}]
            if len(real) == 1:
                schema = plain(spec, real[0], depth=depth + 1)
    merged = schema.get("allOf")
    if isinstance(merged, list):
        parts = [plain(spec, one, depth=depth + 1) for one in merged]
        schema = _merge([schema, *parts])
    kind = schema.get("type")
    if isinstance(kind, list):
        real = [one for one in kind if one != "null"]
        schema = {**schema, "type": real[0] if len(real) == 1 else ""}
    if "type" not in schema and isinstance(schema.get("properties"), dict):
        schema = {**schema, "type": "object"}
    return schema


def _merge(schemas: list[Mapping[str, Any]]) -> Mapping[str, Any]:
    merged: dict[str, Any] = {}
    properties: dict[str, Any] = {}
    required: list[str] = []
    for schema in schemas:
        merged.update({k: v for k, v in schema.items() if k != "allOf"})
        if isinstance(schema.get("properties"), dict):
            properties.update(schema["properties"])
        required.extend(strings(schema.get("required")))
    if properties:
        merged["properties"] = properties
    if required:
        merged["required"] = list(dict.fromkeys(required))
    return merged


def narrow(
    spec: Spec, node: object, *, name: str, notes: Notes, above: Above = ()
) -> dict[str, Any] | None:
    """Return a closed JSON Schema for an argument, or None if there is none.

    Guesses go to the notes: lengths, patterns of identifiers, fractions. A schema
    inside itself has none.

    Raises:
        SpecError: It cannot be read.
    """
    made = _narrow(spec, node, name=name, notes=notes, above=above)
    said = plain(spec, node).get("description")
    if made is not None and isinstance(said, str) and said.strip():
        made["description"] = names.sentence(said)
    return made


def _narrow(
    spec: Spec, node: object, *, name: str, notes: Notes, above: Above
) -> dict[str, Any] | None:
    reference = spec.follow(node)[1]
    if len(above) > SCHEMA_DEPTH_MAX or (reference and reference in above):
        return None
    above = (*above, reference)
    schema = plain(spec, node)
    kind = schema.get("type")
    if kind == "array":
        return _array(spec, schema, name=name, notes=notes, above=above)
    if kind == "object":
        return _closed(spec, schema, name=name, notes=notes, above=above)
    return _scalar(schema, name, notes)


def _scalar(
    schema: Mapping[str, Any], name: str, notes: Notes
) -> dict[str, Any] | None:
    match schema.get("type"):
        case "string":
            return _string(schema, name, notes)
        case "integer":
            return _integer(schema)
        case "number":
            notes.fractions.append(name)
            return _integer(schema)
        case "boolean":
            return {"type": "boolean"}
        case _:
            return None


def _string(schema: Mapping[str, Any], name: str, notes: Notes) -> dict[str, Any]:
    enum = [one for one in strings(schema.get("enum")) if one]
    if "const" in schema:
        enum = strings([schema["const"]])
    if 0 < len(enum) <= ENUM_MAX:
        return {"type": "string", "enum": list(dict.fromkeys(enum))}
    made: dict[str, Any] = {"type": "string"}
    pattern = schema.get("pattern") or _FORMATS.get(str(schema.get("format")))
    if isinstance(pattern, str) and _usable(pattern, schema):
        made["pattern"] = pattern
    elif names.is_id(name):
        notes.patterns.append(name)
        made["pattern"] = ID_PATTERN
    low, high = schema.get("minLength"), schema.get("maxLength")
    if type(low) is int and 0 <= low <= STATED_CHARS_MAX:
        made["minLength"] = low
    if type(high) is int and high > 0:
        made["maxLength"] = min(high, STATED_CHARS_MAX)
    elif "pattern" not in made:
        notes.lengths.append(name)
        long = names.is_text(name)
        made["maxLength"] = TEXT_CHARS_MAX if long else WORD_CHARS_MAX
    else:
        made["maxLength"] = UNSTATED_CHARS
    return made


def _integer(schema: Mapping[str, Any]) -> dict[str, Any]:
    made: dict[str, Any] = {"type": "integer"}
    enum = [one for one in schema.get("enum") or () if type(one) is int]
    if 0 < len(enum) <= ENUM_MAX:
        made["enum"] = enum
        return made
    low, high = schema.get("minimum"), schema.get("maximum")
    good = type(low) is int and abs(low) <= INTEGER_MAX
    made["minimum"] = low if good else 0
    good = type(high) is int and abs(high) <= INTEGER_MAX
    made["maximum"] = high if good else INTEGER_MAX
    return made


def _array(
    spec: Spec, schema: Mapping[str, Any], *, name: str, notes: Notes, above: Above
) -> dict[str, Any] | None:
    items = _narrow(spec, schema.get("items", {}), name=name, notes=notes, above=above)
    if items is None:
        return None
    most = schema.get("maxItems")
    good = type(most) is int and 0 < most <= ITEMS_MAX
    return {"type": "array", "items": items, "maxItems": most if good else ITEMS_MAX}


def _closed(
    spec: Spec, schema: Mapping[str, Any], *, name: str, notes: Notes, above: Above
) -> dict[str, Any] | None:
    properties: dict[str, Any] = {}
    required = set(strings(schema.get("required")))
    for inner, node in _properties(schema):
        made = _narrow(spec, node, name=inner, notes=notes, above=above)
        if made is not None:
            properties[inner] = made
        elif inner in required:
            return None
        else:
            notes.left_out.append(f"{name}.{inner}")
    if not properties:
        return None
    return {
        "type": "object",
        "additionalProperties": False,
        "required": sorted(required & set(properties)),
        "properties": properties,
    }


def leaves(spec: Spec, node: object, *, parent: str) -> tuple[list[Leaf], bool]:
    """Return the scalars of an answer, the shallow ones first, and whether it is all.

    A schema inside itself is cut where it comes again; of more than LEAVES_MAX the
    deepest are left out.

    Raises:
        SpecError: It cannot be read.
    """
    found: list[Leaf] = []
    whole = True
    waiting: deque[tuple[str, str, str, object, frozenset[str]]] = deque()
    waiting.append(("", "", parent, node, frozenset()))
    while waiting:
        pointer, name, of, at, above = waiting.popleft()
        reference = spec.follow(at)[1]
        if reference in above or pointer.count("/") > SCHEMA_DEPTH_MAX:
            whole = False
            continue
        schema = plain(spec, at)
        above = above | {reference} if reference else above
        kind = schema.get("type")
        if kind == "object":
            inside = names.singular(name) if name else of
            for inner, part in _properties(schema):
                where = f"{pointer}/{inner.replace('~', '~0').replace('/', '~1')}"
                waiting.append((where, inner, inside, part, above))
        elif kind == "array":
            items = schema.get("items", {})
            waiting.append((f"{pointer}/*", name, of, items, above))
        elif kind in {"string", "integer", "boolean"} and pointer:
            found.append(Leaf(pointer, name, of, schema))
            if len(found) == LEAVES_MAX:
                return found, whole and not waiting
    return found, whole


def _properties(schema: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    properties = schema.get("properties")
    if not isinstance(properties, dict):
        return
    for name, node in properties.items():
        yield str(name), node


def strings(value: object) -> list[str]:
    """Return the texts in a list, and nothing of anything else."""
    found = value if isinstance(value, list) else []
    return [one for one in found if isinstance(one, str)]


def _usable(pattern: str, schema: Mapping[str, Any]) -> bool:
    """Return whether a pattern holds a whole value, and costs little to try."""
    if not (pattern.startswith("^") and pattern.endswith("$")):
        return False
    high = schema.get("maxLength")
    most = UNSTATED_CHARS
    if type(high) is int and high > 0:
        most = min(high, STATED_CHARS_MAX)
    try:
        check_pattern(pattern, chars_max=most)
    except PatternError:
        return False
    return True


def required_object(spec: Spec, node: object) -> Mapping[str, Any]:
    """Return a body's schema.

    Raises:
        SpecError: It is no object with named fields.
    """
    schema = plain(spec, node)
    if schema.get("type") != "object" or not schema.get("properties"):
        msg = "its body is no object with named fields"
        raise SpecError(msg)
    return schema
