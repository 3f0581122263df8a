"""Read JSON strictly, and write the one canonical form that is hashed and signed.

Whatever is signed, hashed or compared byte by byte in Counterfoil passes through this
module: `parse_json` admits a document that has exactly one meaning, `canonical` gives
the bytes that everybody else computes for the same value.

Source: RFC 8259 (JSON), RFC 7493 (I-JSON), RFC 8785 (JCS).
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal, NoReturn, TypeAlias, cast

import rfc8785

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

JsonValue: TypeAlias = (
    "bool | int | float | str | list[JsonValue] | dict[str, JsonValue] | None"
)
"""What `parse_json` gives back."""

JsonInput: TypeAlias = (
    "bool | int | float | str | Sequence[JsonInput] | Mapping[str, JsonInput] | None"
)
"""What `canonical` takes: as JsonValue, but any dict, list or tuple will do."""

Problem: TypeAlias = Literal[
    "too_large",
    "too_deep",
    "duplicate_key",
    "not_utf8",
    "not_json",
    "number_out_of_range",
    "not_finite",
    "surrogate",
]

INTEGER_MAX: Final = 2**53 - 1
"""Largest magnitude of a number: beyond it readers disagree (RFC 7493 section 2.2)."""

NUMBER_CHARS_MAX: Final = 40
"""Longest number literal, sign and exponent included."""

POINTER_CHARS_MAX: Final = 200
"""Longest pointer in an error; a longer one is cut."""

DEPTH_MAX: Final = 200
"""Deepest nesting that any caller may ask for; far below the interpreter's stack."""

# More values than this, or one that contains itself, are left to the library.
_PLAIN_VALUES_MAX = 10_000
_PLAIN = json.JSONEncoder(
    ensure_ascii=False, separators=(",", ":"), sort_keys=True, check_circular=False
)
_STRUCTURE = re.compile(rb'"(?:[^"\\]++|\\.)*+"?|[\[\]{}]', re.DOTALL)
_ESCAPED_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
_SURROGATE = re.compile("[\ud800-\udfff]")


class CanonicalError(ValueError):
    """A document or value that has no single meaning, or is over a limit.

    Attributes:
        problem: Stable word for what is wrong.
        pointer: RFC 6901 pointer to the value, or None when the text never became one.
        offset: Character (bytes for not_utf8) where reading stopped, or None.
    """

    def __init__(
        self,
        *,
        problem: Problem,
        detail: str,
        pointer: str | None = None,
        offset: int | None = None,
    ) -> None:
        """Keep the stable word apart from the sentence for people."""
        where = ""
        if pointer is not None:
            where = f" at {pointer or 'the top'}"
        elif offset is not None:
            where = f" at offset {offset}"
        super().__init__(f"{detail}{where}")
        self.problem: Problem = problem
        self.pointer = pointer
        self.offset = offset


def parse_json(
    data: bytes, *, bytes_max: int, depth_max: int, floats: bool = False
) -> JsonValue:
    """Read one JSON document that every conforming reader understands alike.

    Args:
        data: The document, UTF-8 without a byte order mark.
        bytes_max: Longest document accepted, in bytes.
        depth_max: Deepest nesting accepted; a bare scalar has depth 0, ``[]`` depth 1.
            At most DEPTH_MAX.
        floats: Accept numbers with a fraction or exponent. Without it ``1.0`` and
            ``1e2`` are refused like ``1.5``: amounts are integer minor units.

    Raises:
        CanonicalError: The document is refused; ``problem`` says why, ``pointer`` or
            ``offset`` where.

    Source: RFC 8259; RFC 7493 sections 2.1 to 2.3.
    """
    if not 0 <= depth_max <= DEPTH_MAX:
        msg = f"depth_max must be within 0..{DEPTH_MAX}, got {depth_max}"
        raise ValueError(msg)
    if len(data) > bytes_max:
        detail = f"{len(data)} bytes, more than the {bytes_max} allowed"
        raise CanonicalError(problem="too_large", detail=detail, pointer="")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise CanonicalError(
            problem="not_utf8", detail="not UTF-8", offset=error.start
        ) from None
    _refuse_depth(data, depth_max)
    hooks = _Hooks(floats=floats)
    decoder = json.JSONDecoder(
        object_pairs_hook=hooks.pairs,
        parse_int=hooks.integer,
        parse_float=hooks.fraction,
        parse_constant=hooks.constant,
    )
    try:
        value = decoder.decode(text)
    except json.JSONDecodeError as error:
        raise CanonicalError(
            problem="not_json", detail=error.msg, offset=error.pos
        ) from None
    if hooks.found:
        _raise_first(value)
    if _ESCAPED_SURROGATE.search(data):
        _refuse_surrogates(value)
    return cast("JsonValue", value)


def canonical(value: JsonInput) -> bytes:
    """Return the canonical UTF-8 bytes of a value.

    Floats are written as ECMAScript does, so ``1.0`` and ``1`` have the same form.

    Raises:
        CanonicalError: A number is not finite or an integer beyond INTEGER_MAX, a text
            holds a lone surrogate, nesting is too deep, or something is no JSON value.

    Source: RFC 8785.
    """
    if _is_plain(value):
        try:
            return _PLAIN.encode(value).encode("utf-8")
        except (UnicodeEncodeError, RecursionError):
            pass  # The library says below what is wrong.
    try:
        return rfc8785.dumps(cast("dict[str, object]", value))  # type: ignore[arg-type]
    except rfc8785.IntegerDomainError as error:
        raise CanonicalError(problem="number_out_of_range", detail=str(error)) from None
    except rfc8785.FloatDomainError as error:
        raise CanonicalError(problem="not_finite", detail=str(error)) from None
    except rfc8785.CanonicalizationError as error:
        problem: Problem = "surrogate" if "UTF-8" in str(error) else "not_json"
        raise CanonicalError(problem=problem, detail=str(error)) from None
    except UnicodeEncodeError:
        raise CanonicalError(
            problem="surrogate", detail="a key holds a lone surrogate"
        ) from None
    except RecursionError:
        raise CanonicalError(
            problem="too_deep", detail="the value nests too deeply"
        ) from None


def _is_plain(value: object) -> bool:
    """Say whether the standard library writes this value as RFC 8785 does.

    It does for ASCII keys, texts, whole numbers and what contains only these. Nearly
    everything that we sign is of that kind, and written so costs a quarter of the time
    (23 us against 89 us for an audit entry).
    """
    waiting = [value]
    for _ in range(_PLAIN_VALUES_MAX):
        if not waiting:
            return True
        here = waiting.pop()
        kind = type(here)
        if kind is dict:
            for key in cast("dict[object, object]", here):
                if type(key) is not str or not key.isascii():
                    return False
            waiting.extend(cast("dict[object, object]", here).values())
        elif kind is list or kind is tuple:
            waiting.extend(cast("Sequence[object]", here))
        elif kind is int:
            if not -INTEGER_MAX <= cast("int", here) <= INTEGER_MAX:
                return False
        elif kind is not str and kind is not bool and here is not None:
            return False
    return False


def digest(value: JsonInput) -> str:
    """Return the SHA-256 of the canonical bytes, as 64 lower-case hex digits.

    Raises:
        CanonicalError: As `canonical`.
    """
    return hashlib.sha256(canonical(value)).hexdigest()


@dataclass(frozen=True, slots=True)
class _Refused:
    """Stands in the parsed tree for a value that is refused, until it is located."""

    problem: Problem
    detail: str
    key: str | None = None


@dataclass(slots=True)
class _Hooks:
    """Refuse values while the C scanner reads, without losing where they stand.

    A hook does not know its path. It leaves a mark in the tree instead of raising, and
    only a document with a mark is walked to find the pointer.
    """

    floats: bool
    found: bool = field(default=False)

    def _refuse(
        self, problem: Problem, detail: str, key: str | None = None
    ) -> _Refused:
        self.found = True
        return _Refused(problem, detail, key)

    def pairs(self, pairs: list[tuple[str, object]]) -> object:
        value = dict(pairs)
        if len(value) == len(pairs):
            return value
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                return self._refuse("duplicate_key", "a key stands twice", key)
            seen.add(key)
        raise AssertionError

    def integer(self, literal: str) -> object:
        # The length is checked first: int() of a long literal costs quadratic time.
        if len(literal) <= NUMBER_CHARS_MAX:
            number = int(literal)
            if abs(number) <= INTEGER_MAX:
                return number
        return self._refuse("number_out_of_range", "a number is beyond 2^53-1")

    def fraction(self, literal: str) -> object:
        if not self.floats:
            return self._refuse(
                "number_out_of_range",
                "only plain integers are accepted, got a fraction",
            )
        if len(literal) <= NUMBER_CHARS_MAX:
            number = float(literal)
            if math.isfinite(number) and abs(number) <= INTEGER_MAX:
                return number
        return self._refuse("number_out_of_range", "a number is beyond 2^53-1")

    def constant(self, literal: str) -> object:
        return self._refuse("not_finite", f"{literal} is not a number in JSON")


def _refuse_depth(data: bytes, depth_max: int) -> None:
    """Refuse nesting before a recursive reader sees it."""
    if data.count(b"[") + data.count(b"{") <= depth_max:
        return
    depth = 0
    for token in _STRUCTURE.finditer(data):
        match token.group():
            case b"[" | b"{":
                depth += 1
                if depth > depth_max:
                    raise CanonicalError(
                        problem="too_deep",
                        detail=f"nested more than {depth_max} deep",
                        offset=token.start(),
                    )
            case b"]" | b"}":
                depth -= 1
            case _:
                pass


def _first(
    value: object, wanted: Callable[[object], bool]
) -> tuple[list[str], object] | None:
    """Find the first value, in document order, that is wanted, and the keys to it.

    Only the path to a hit is kept: pointers for all values of a hostile document with
    long keys would cost far more than the document.
    """
    if wanted(value):
        return [], value
    path: list[str] = []
    waiting = [_children(value)]
    while waiting:
        step = next(waiting[-1], None)
        if step is None:
            waiting.pop()
            del path[len(waiting) - 1 :]
            continue
        key, here = step
        del path[len(waiting) - 1 :]
        path.append(key)
        if wanted(here):
            return path, here
        waiting.append(_children(here))
    return None


def _children(value: object) -> Iterator[tuple[str, object]]:
    if isinstance(value, dict):
        return iter(value.items())
    if isinstance(value, list):
        return ((str(index), item) for index, item in enumerate(value))
    return iter(())


def _pointer(keys: Sequence[str]) -> str:
    """Write an RFC 6901 pointer, cut at POINTER_CHARS_MAX."""
    written = "".join("/" + _escape(key) for key in keys)
    if len(written) <= POINTER_CHARS_MAX:
        return written
    return written[: POINTER_CHARS_MAX - 1] + "\u2026"


def _escape(key: str) -> str:
    # A refused key is echoed in an error: a lone surrogate would break its encoding.
    shown = _SURROGATE.sub("\ufffd", key[:POINTER_CHARS_MAX])
    return shown.replace("~", "~0").replace("/", "~1")


def _raise_first(value: object) -> NoReturn:
    hit = _first(value, lambda here: isinstance(here, _Refused))
    # A mark cannot get lost: an object that drops one has a duplicate key, and is one.
    assert hit is not None  # noqa: S101
    path, refused = hit
    assert isinstance(refused, _Refused)  # noqa: S101
    keys = path if refused.key is None else [*path, refused.key]
    raise CanonicalError(
        problem=refused.problem, detail=refused.detail, pointer=_pointer(keys)
    )


def _refuse_surrogates(value: object) -> None:
    hit = _first(value, _has_surrogate)
    if hit is not None:
        raise CanonicalError(
            problem="surrogate",
            detail="a text holds a lone surrogate",
            pointer=_pointer(hit[0]),
        )


def _has_surrogate(value: object) -> bool:
    if isinstance(value, dict):
        return any(_SURROGATE.search(key) for key in value)
    return isinstance(value, str) and _SURROGATE.search(value) is not None
