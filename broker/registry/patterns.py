"""Refuse schemas of arguments that could hold up whoever checks them.

Every broker tries a manifest's patterns on whatever an agent sends, and decides for
everybody meanwhile. Python's engine backtracks: on 26 letters, ``^(a+)+$`` took most of
a minute. So a pattern is read here first, in a plain part of the language, and what it
can cost on the longest text is counted. What is not understood is refused.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NoReturn

from broker.core.words.tool import PATTERNED_CHARS_MAX

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

PATTERN_CHARS_MAX: Final = 300
PATTERN_STEPS_MAX: Final = 1 << 24
"""The most that a text may cost: a second or less, and only for a text made for it."""

REPEATS_SHORT_MAX: Final = 16
"""Up to so many repeats of what can be read in several ways are counted out."""

BRACKETS_DEPTH_MAX: Final = 8
_CLASSES: Final = frozenset("dDwWsSnrt")
_SPECIAL: Final = frozenset("*+?{")
_QUANTIFIER: Final = re.compile(r"\{(\d{1,4})(,(\d{0,4}))?\}")


class PatternError(ValueError):
    """A pattern that costs too much, or that is not understood."""


@dataclass(frozen=True, slots=True)
class _Cost:
    """Ways to read a part: so many at once, times the length for each long repeat."""

    ways: int = 1
    long: int = 0

    def then(self, other: _Cost) -> _Cost:
        """Return what both cost, one after the other."""
        return _Cost(self.ways * other.ways, self.long + other.long)

    @property
    def plain(self) -> bool:
        """Return whether there is one way to read it."""
        return self.ways == 1 and self.long == 0


def check_pattern(pattern: str, *, chars_max: int = PATTERNED_CHARS_MAX) -> None:
    """Refuse a pattern that could take too long on texts up to a length.

    Raises:
        PatternError: It could, or has something that is not understood: references
            back, looks ahead or behind, flags, conditions.
    """
    if len(pattern) > PATTERN_CHARS_MAX:
        msg = f"it has more than {PATTERN_CHARS_MAX} characters"
        raise PatternError(msg)
    reader = _Reader(pattern)
    cost = reader.alternatives(0)
    if reader.at < len(pattern):
        reader.refuse("a bracket too much")
    try:
        re.compile(pattern)
    except re.error as error:
        msg = f"it is no pattern: {error.msg}"
        raise PatternError(msg) from None
    # Without an anchor it is tried from every place on.
    long = cost.long + (not pattern.startswith("^"))
    if cost.ways * max(chars_max, 2) ** long > PATTERN_STEPS_MAX:
        msg = (
            f"it could take too long on {chars_max} characters: fewer repeats beside"
            " each other, or a shorter maxLength"
        )
        raise PatternError(msg)


def check_schema(arguments: Mapping[str, Any]) -> None:
    """Refuse a schema of arguments with a pattern as above, or that leads elsewhere.

    Raises:
        PatternError: With the place.
    """
    for where, schema in _schemas(arguments, "arguments"):
        if "patternProperties" in schema:
            msg = f"{where}: arguments have names, and no patterns of names"
            raise PatternError(msg)
        for name in ("$ref", "$dynamicRef"):
            if not str(schema.get(name, "#")).startswith("#"):
                msg = f"{where}: {name} leads out of the manifest; nothing is fetched"
                raise PatternError(msg)
        pattern, most = schema.get("pattern"), schema.get("maxLength")
        if isinstance(pattern, str):
            try:
                check_pattern(
                    pattern,
                    chars_max=most if type(most) is int else PATTERNED_CHARS_MAX,
                )
            except PatternError as error:
                msg = f"{where}: the pattern is refused: {error}"
                raise PatternError(msg) from None


def _schemas(node: Any, where: str) -> Iterator[tuple[str, Mapping[str, Any]]]:  # noqa: ANN401
    if isinstance(node, dict):
        yield where, node
        for name, inner in node.items():
            yield from _schemas(inner, f"{where}.{name}")
    elif isinstance(node, list):
        for inner in node:
            yield from _schemas(inner, where)


class _Reader:
    """Reads a pattern from left to right, and counts."""

    def __init__(self, pattern: str) -> None:
        self.pattern = pattern
        self.at = 0

    def refuse(self, what: str) -> NoReturn:
        msg = f"{what}, at character {self.at + 1}"
        raise PatternError(msg)

    def alternatives(self, depth: int) -> _Cost:
        """Read alternatives up to the end, or to the bracket that closes them."""
        if depth > BRACKETS_DEPTH_MAX:
            self.refuse("too many brackets inside each other")
        found = [self._sequence(depth)]
        while self._next() == "|":
            self.at += 1
            found.append(self._sequence(depth))
        ways = sum(one.ways for one in found)
        return _Cost(ways, max(one.long for one in found))

    def _sequence(self, depth: int) -> _Cost:
        cost = _Cost()
        while self._next() not in {"", "|", ")"}:
            cost = cost.then(self._repeated(self._atom(depth)))
        return cost

    def _atom(self, depth: int) -> _Cost:
        char = self._take()
        match char:
            case "(":
                if self._next() == "?":
                    if not self.pattern.startswith("?:", self.at):
                        self.refuse("only plain brackets are understood")
                    self.at += 2
                cost = self.alternatives(depth + 1)
                if self._take() != ")":
                    self.refuse("a bracket is not closed")
                return cost
            case "[":
                self._set()
            case "\\":
                self._escape()
            case _ if char in _SPECIAL:
                self.refuse(f"{char!r} repeats nothing that is understood")
            case _:
                pass
        return _Cost()

    def _set(self) -> None:
        if self._next() == "^":
            self.at += 1
        first = True
        while first or self._next() != "]":
            if self._next() == "":
                self.refuse("a set is not closed")
            if self._take() == "\\":
                self._escape()
            first = False
        self.at += 1

    def _escape(self) -> None:
        char = self._take()
        if char.isalnum() and char not in _CLASSES:
            self.refuse(f"\\{char} is not understood")
        if not char:
            self.refuse("an escape of nothing")

    def _repeated(self, cost: _Cost) -> _Cost:
        """Apply the quantifier that follows, if there is one."""
        low, high = self._quantifier()
        if (low, high) == (1, 1):
            return cost
        if high is None or high > REPEATS_SHORT_MAX:
            if not cost.plain:
                self.refuse("what repeats may not be read in several ways itself")
            return _Cost(1, 0 if low == high else 1)
        ways = sum(min(cost.ways**n, PATTERN_STEPS_MAX) for n in range(low, high + 1))
        return _Cost(ways, cost.long * high)

    def _quantifier(self) -> tuple[int, int | None]:
        low = 1
        more: int | None = 1
        match self._next():
            case "*":
                low, more = 0, None
            case "+":
                more = None
            case "?":
                low = 0
            case "{":
                found = _QUANTIFIER.match(self.pattern, self.at)
                if found is None:
                    self.refuse("'{' begins no count")
                low = int(found[1])
                more = low if found[2] is None else int(found[3] or 0) or None
                self.at = found.end() - 1
            case _:
                return low, more
        self.at += 1
        if self._next() == "?":
            # Lazy: the same ways in another order.
            self.at += 1
        return low, more

    def _next(self) -> str:
        return self.pattern[self.at : self.at + 1]

    def _take(self) -> str:
        char = self._next()
        self.at += 1
        return char
