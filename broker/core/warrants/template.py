"""Fill a manifest's request with decided arguments: path, query and body.

A template is text with places: ``{args.NAME}``, ``{customer}``, ``{action}``. A body
string that is one whole place takes the argument with its type; inside other text only
strings and integers may stand. What a request must look like is computed here, from the
decision, and compared with what a connector asks for; it is never read from there.

Source: docs/manifests.md; RFC 3986 sections 2.1 to 2.4 and 3.3.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, quote_plus

if TYPE_CHECKING:
    from collections.abc import Iterator

TARGET_CHARS_MAX: Final = 4_096
"""Longest path and query, encoded."""

FORM_FIELDS_MAX: Final = 64
"""Most fields of a form template."""

TEMPLATE_DEPTH_MAX: Final = 16
"""Deepest nesting of a body template."""

_PLACE = re.compile(r"\{(args\.[A-Za-z_][A-Za-z0-9_]*|customer|action)\}")
_LITERAL_PATH = re.compile(r"[A-Za-z0-9._~!$&'()*+,:@/-]*")
# An upstream may decode these before it routes, and find another path than was meant.
_UNSAFE_IN_PATH = re.compile(r"[/\\%?#;\x00-\x1f\x7f-\x9f]")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
# Names as APIs write them, such as metadata[order]; nothing that has two readings.
_FORM_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}(\[[A-Za-z0-9_.-]{0,64}\]){0,8}")


_SHOWN_CHARS = 100


class TemplateError(ValueError):
    """A template that is malformed, or cannot be filled; it never repeats a value."""


@dataclass(frozen=True, slots=True)
class Filling:
    """What the places are filled with: decided arguments, upstream customer, action."""

    arguments: Mapping[str, Any]
    customer: str
    action: str

    def get(self, place: str) -> object:
        """Return the value for a place, or ABSENT for an argument that was not given.

        Raises:
            TemplateError: There is no customer or action: only arguments are optional.
        """
        if place.startswith("args."):
            return self.arguments.get(place[5:], ABSENT)
        value = self.customer if place == "customer" else self.action
        if not value:
            msg = f"there is no {place}"
            raise TemplateError(msg)
        return value


class _Absent:
    """Stands for an optional argument that was not given."""


ABSENT: Final = _Absent()


def places(template: object) -> tuple[str, ...]:
    """Return the places in a string, or in all strings of a body template, in order.

    Raises:
        TemplateError: A brace that belongs to no place, a key with a place, a nesting
            beyond TEMPLATE_DEPTH_MAX, or something that is no JSON.
    """
    return tuple(_places(template, TEMPLATE_DEPTH_MAX))


def check_path(template: str) -> None:
    """Refuse a path template that could be read in two ways.

    Raises:
        TemplateError: It does not start with a slash, has an empty or dot segment, or
            literal text that would need encoding.
    """
    if not template.startswith("/"):
        msg = "a path starts with a slash"
        raise TemplateError(msg)
    places(template)
    for segment in template[1:].split("/"):
        if segment in {".", ".."} or (not segment and template != "/"):
            msg = "a path has no empty and no dot segments"
            raise TemplateError(msg)
    if not _LITERAL_PATH.fullmatch(_PLACE.sub("", template)):
        msg = "a path has letters, digits and -._~!$&'()*+,:@ only"
        raise TemplateError(msg)


def fill_path(template: str, filling: Filling) -> str:
    """Return the encoded path.

    Raises:
        TemplateError: A value is missing, empty, no string or integer, makes a dot
            segment, or holds a character that an upstream might decode into structure.
    """

    def put(match: re.Match[str]) -> str:
        value = _scalar(filling.get(match.group(1)))
        if not value or _UNSAFE_IN_PATH.search(value):
            msg = f"the value for {match.group()} cannot stand in a path"
            raise TemplateError(msg)
        return _quoted(value)

    path = _PLACE.sub(put, template)
    if any(segment in {".", ".."} for segment in path.split("/")):
        msg = "a value makes a dot segment"
        raise TemplateError(msg)
    return path


def fill_query(templates: Mapping[str, str], filling: Filling) -> tuple[str, ...]:
    """Return the encoded ``name=value`` pairs, sorted; an absent argument drops its.

    Raises:
        TemplateError: A value is no string or integer, or holds control characters.
    """
    pairs: list[str] = []
    for name, template in templates.items():
        value = _text(template, filling)
        if value is not None:
            if _CONTROL.search(value):
                msg = f"the value for query {name!r} holds control characters"
                raise TemplateError(msg)
            pairs.append(f"{_quoted(name)}={_quoted(value)}")
    return tuple(sorted(pairs))


def fill_body(template: object, filling: Filling) -> Any:  # noqa: ANN401
    """Return the JSON value; a field whose argument is absent is left out.

    Raises:
        TemplateError: A value inside text is no string or integer, an element of a list
            is absent, or the body itself is.
    """
    value = _filled(template, filling)
    if value is ABSENT:
        msg = "the argument for the whole body is absent"
        raise TemplateError(msg)
    return value


def check_form(template: Mapping[str, Any]) -> None:
    """Refuse a form template that could be read in two ways.

    Raises:
        TemplateError: Too many fields, a name that is none, or a value that is no text.
    """
    if not 0 < len(template) <= FORM_FIELDS_MAX:
        msg = f"a form has 1 to {FORM_FIELDS_MAX} fields"
        raise TemplateError(msg)
    if not all(_FORM_NAME.fullmatch(name) for name in template):
        msg = "a form's field is named like 'amount' or 'metadata[order]'"
        raise TemplateError(msg)
    if not all(isinstance(value, str) for value in template.values()):
        msg = "a form's value is a string"
        raise TemplateError(msg)


def fill_form(template: Mapping[str, str], filling: Filling) -> bytes:
    """Return the form as it is sent: one encoding, names in the order of their bytes.

    A field whose argument is absent is left out. The order does not follow the file,
    which the manifest's digest does not fix.

    Raises:
        TemplateError: A value is no string or integer, or is no Unicode text.

    Source: URL Standard, 5.2 (application/x-www-form-urlencoded), as Python's
    ``urllib.parse.urlencode(pairs, safe="[]")`` writes it.
    """
    pairs = []
    for name in sorted(template):
        value = _text(template[name], filling)
        if value is not None:
            pairs.append(f"{_form(name)}={_form(value)}")
    return "&".join(pairs).encode("ascii")


def form_difference(wanted: bytes, found: bytes) -> str | None:
    """Return where two forms differ, in words without values; None if they do not."""
    if wanted == found:
        return None
    ours, theirs = (form.split(b"&") for form in (wanted, found))
    names = [pair.partition(b"=")[0] for pair in theirs]
    known = {pair.partition(b"=")[0]: pair for pair in ours}
    for name, pair in zip(names, theirs, strict=True):
        if names.count(name) > 1:
            return f"has {_shown_name(name)} twice"
        if known.get(name) != pair:
            return f"differs at {_shown_name(name)}"
    missing = [name for name in known if name not in names]
    if missing:
        return f"lacks {_shown_name(missing[0])}"
    return "has its fields in another order"


def difference(wanted: object, found: object) -> str | None:
    """Return an RFC 6901 pointer to the first difference of two JSON values, or None.

    Types count: ``true`` is not ``1``, and ``1.0`` is not ``1``.
    """
    for pointer, same in _compared(wanted, found, ""):
        if not same:
            return pointer
    return None


def _compared(wanted: object, found: object, at: str) -> Iterator[tuple[str, bool]]:
    if type(wanted) is not type(found):
        yield at, False
    elif isinstance(wanted, dict) and isinstance(found, dict):
        for key in sorted(wanted.keys() | found.keys()):
            here = f"{at}/{key.replace('~', '~0').replace('/', '~1')}"
            if key in wanted and key in found:
                yield from _compared(wanted[key], found[key], here)
            else:
                yield here, False
    elif isinstance(wanted, list) and isinstance(found, list):
        yield at, len(wanted) == len(found)
        for index, (one, other) in enumerate(zip(wanted, found, strict=False)):
            yield from _compared(one, other, f"{at}/{index}")
    else:
        yield at, wanted == found


def _places(template: object, depth: int) -> Iterator[str]:
    if depth < 0:
        msg = f"a body template nests at most {TEMPLATE_DEPTH_MAX} deep"
        raise TemplateError(msg)
    if isinstance(template, str):
        yield from _places_in_text(template)
    elif isinstance(template, Mapping):
        for key, inner in template.items():
            if re.search(r"[{}]", key):
                msg = "a key holds no place"
                raise TemplateError(msg)
            yield from _places(inner, depth - 1)
    elif isinstance(template, list | tuple):
        for inner in template:
            yield from _places(inner, depth - 1)
    elif not (template is None or isinstance(template, bool | int | float)):
        msg = "a body template is made of JSON values"
        raise TemplateError(msg)


def _places_in_text(template: str) -> Iterator[str]:
    if re.search(r"[{}]", _PLACE.sub("", template)):
        msg = "a brace belongs to no place"
        raise TemplateError(msg)
    for match in _PLACE.finditer(template):
        yield match.group(1)


def _filled(template: object, filling: Filling) -> object:
    if isinstance(template, str):
        whole = _PLACE.fullmatch(template)
        if whole:
            return filling.get(whole.group(1))
        text = _text(template, filling)
        return ABSENT if text is None else text
    if isinstance(template, Mapping):
        filled = {key: _filled(inner, filling) for key, inner in template.items()}
        return {key: value for key, value in filled.items() if value is not ABSENT}
    if isinstance(template, list | tuple):
        items = [_filled(inner, filling) for inner in template]
        if any(item is ABSENT for item in items):
            msg = "an element of a list is absent"
            raise TemplateError(msg)
        return items
    return template


def _text(template: str, filling: Filling) -> str | None:
    """Fill text; None when a place in it is absent."""
    values = {name: filling.get(name) for name in _places_in_text(template)}
    if any(value is ABSENT for value in values.values()):
        return None
    return _PLACE.sub(lambda match: _scalar(values[match.group(1)]), template)


def _scalar(value: object) -> str:
    if isinstance(value, str):
        return value
    if type(value) is int:
        return str(value)
    msg = "only strings and integers stand inside text"
    raise TemplateError(msg)


def _quoted(value: str) -> str:
    try:
        return quote(value, safe="", errors="strict")
    except UnicodeEncodeError:
        msg = "a value holds a lone surrogate"
        raise TemplateError(msg) from None


def _form(value: str) -> str:
    try:
        # Brackets stay: they are what names are made of, and clients differ over them.
        return quote_plus(value, safe="[]", errors="strict")
    except UnicodeEncodeError:
        msg = "a value holds a lone surrogate"
        raise TemplateError(msg) from None


def _shown_name(name: bytes) -> str:
    return repr(name[:_SHOWN_CHARS].decode("ascii", "replace"))
