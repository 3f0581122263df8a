"""Read what callers send: strict JSON, known fields, every one with a limit."""

import json
import re
from collections.abc import Iterable
from typing import Final, NoReturn

from infra.democrm.limits import (
    AMOUNT_MINOR_UNITS_MAX,
    IDEMPOTENCY_KEY_CHARS_MAX,
    JSON_DEPTH_MAX,
)
from infra.democrm.words import Answer, refusal

_KEY: Final = re.compile(rf"[\x21-\x7e]{{1,{IDEMPOTENCY_KEY_CHARS_MAX}}}")


class RequestError(Exception):
    """A request that cannot be taken as it stands; ``answer`` says why."""

    def __init__(self, answer: Answer) -> None:
        """Keep the answer that the caller gets."""
        super().__init__(answer.status)
        self.answer = answer


def parse_object(raw: bytes) -> dict[str, object]:
    """Parse one JSON object.

    Raises:
        RequestError: 400, it is not strict JSON (a name twice, NaN, bad UTF-8, a lone
            surrogate, more than JSON_DEPTH_MAX levels); 422, it is no object.

    Source: RFC 7493 (I-JSON), sections 2.1 to 2.3.
    """
    try:
        value: object = json.loads(
            raw.decode(),
            object_pairs_hook=_object_without_repeats,
            parse_constant=_refuse_constant,
        )
        # A lone surrogate passes the parser and fails only where it is written.
        json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        _malformed("the body is not strict JSON")
    if _depth(value) > JSON_DEPTH_MAX:
        _malformed(f"the body is nested deeper than {JSON_DEPTH_MAX}")
    if not isinstance(value, dict):
        invalid("", "must be an object")
    return value


def idempotency_key(values: Iterable[str]) -> str | None:
    """Return the one Idempotency-Key, or None.

    Raises:
        RequestError: 400, there are several, or it is not 1 to
            IDEMPOTENCY_KEY_CHARS_MAX visible ASCII characters.
    """
    found = list(values)
    if not found:
        return None
    if len(found) > 1 or not _KEY.fullmatch(found[0]):
        raise RequestError(refusal(400, "bad_idempotency_key"))
    return found[0]


def invalid(path: str, detail: str) -> NoReturn:
    """Refuse with 422; ``path`` is the field's JSON pointer (RFC 6901)."""
    raise RequestError(refusal(422, "invalid", field=path, detail=detail))


class Fields:
    """Take named fields out of an object, each once, and refuse what is left."""

    def __init__(self, values: dict[str, object], *, path: str = "") -> None:
        """Copy ``values``; ``path`` is the pointer to the object that holds them."""
        self._left = dict(values)
        self._path = path

    def has(self, name: str) -> bool:
        """Say whether the field was sent and not yet taken."""
        return name in self._left

    def text(self, name: str, *, chars_max: int) -> str:
        """Take a string of 1 to ``chars_max`` characters that is not only blanks."""
        value = self.string(name, chars_max=chars_max)
        if not value.strip():
            self.refuse(name, "must not be empty")
        return value

    def string(self, name: str, *, chars_max: int) -> str:
        """Take a string of at most ``chars_max`` characters; it may be empty."""
        value = self._take(name)
        if not isinstance(value, str) or len(value) > chars_max:
            self.refuse(name, f"must be a string of at most {chars_max} characters")
        return value

    def amount(self, name: str) -> int:
        """Take an amount in cents, from 1 to AMOUNT_MINOR_UNITS_MAX."""
        return self.integer(name, least=1, most=AMOUNT_MINOR_UNITS_MAX)

    def integer(self, name: str, *, least: int, most: int) -> int:
        """Take an integer between ``least`` and ``most``, both allowed."""
        value = self._take(name)
        # A bool is an int in Python, and 1.0 is a float in JSON: both are refused.
        if type(value) is not int or not least <= value <= most:
            self.refuse(name, f"must be an integer from {least} to {most}")
        return value

    def number(self, name: str, *, most: float) -> float:
        """Take a number between 0 and ``most``, both allowed."""
        value = self._take(name)
        if type(value) not in (int, float) or not 0 <= value <= most:  # type: ignore[operator]
            self.refuse(name, f"must be a number from 0 to {most}")
        return float(value)  # type: ignore[arg-type]

    def flag(self, name: str) -> bool:
        """Take true or false."""
        value = self._take(name)
        if not isinstance(value, bool):
            self.refuse(name, "must be true or false")
        return value

    def fields(self, name: str) -> "Fields":
        """Take an object."""
        value = self._take(name)
        if not isinstance(value, dict):
            self.refuse(name, "must be an object")
        return Fields(value, path=f"{self._path}/{name}")

    def objects(self, name: str, *, items_max: int) -> "list[Fields]":
        """Take a list of at most ``items_max`` objects."""
        value = self._take(name)
        if not isinstance(value, list) or len(value) > items_max:
            self.refuse(name, f"must be a list of at most {items_max} objects")
        # Each item is taken like a field whose name is its index: /faults/0.
        items = Fields(
            {str(index): item for index, item in enumerate(value)},
            path=f"{self._path}/{name}",
        )
        return [items.fields(str(index)) for index in range(len(value))]

    def texts(self, name: str, *, items_max: int, chars_max: int) -> tuple[str, ...]:
        """Take a list of 1 to ``items_max`` strings that are not empty."""
        value = self._take(name)
        if not isinstance(value, list) or not 1 <= len(value) <= items_max:
            self.refuse(name, f"must be a list of 1 to {items_max} strings")
        items = Fields(
            {str(index): item for index, item in enumerate(value)},
            path=f"{self._path}/{name}",
        )
        return tuple(
            items.text(str(index), chars_max=chars_max) for index in range(len(value))
        )

    def take_null(self, name: str) -> bool:
        """Take the field only if it was sent as null, and say whether it was."""
        if self._left.get(name, ...) is not None:
            return False
        del self._left[name]
        return True

    def end(self) -> None:
        """Refuse fields that nobody took."""
        if self._left:
            # Their names come from the caller and may be long: they are not echoed.
            invalid(self._path, "has fields that are not known here")

    def refuse(self, name: str, detail: str) -> NoReturn:
        """Refuse with 422 for the field ``name``."""
        invalid(f"{self._path}/{name}", detail)

    def _take(self, name: str) -> object:
        if name not in self._left:
            self.refuse(name, "is required")
        return self._left.pop(name)


def _malformed(detail: str) -> NoReturn:
    raise RequestError(refusal(400, "malformed", detail=detail))


def _object_without_repeats(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        msg = "a name appears twice"
        raise ValueError(msg)
    return found


def _refuse_constant(name: str) -> NoReturn:
    msg = f"{name} is not JSON"
    raise ValueError(msg)


def _depth(value: object) -> int:
    deepest = 0
    level: list[object] = [value]
    while containers := [item for item in level if isinstance(item, dict | list)]:
        deepest += 1
        level = [
            child
            for container in containers
            for child in (
                container.values() if isinstance(container, dict) else container
            )
        ]
    return deepest
