"""Speak frames: four bytes of length, big endian, then one strict JSON object.

Strict means that the document has one meaning for every reader: UTF-8, no name twice,
no NaN or infinity, no lone surrogate, only plain integers within 2^53-1, limited size
and depth. Whoever writes the other end may be hostile.

Source: RFC 8259; RFC 7493 (I-JSON), sections 2.1 to 2.3.
"""

import json
import re
from collections.abc import Mapping
from typing import Final, Literal, NoReturn

HEADER_BYTES: Final = 4

INTEGER_MAX: Final = 2**53 - 1
"""Largest magnitude of a number: beyond it readers disagree."""

_NUMBER_CHARS: Final = 17  # a sign and 16 digits
_TOKENS: Final = re.compile(rb'"(?:[^"\\]++|\\.)*+"?|[\[\]{}]', re.DOTALL)
_SURROGATES: Final = re.compile("[\ud800-\udfff]")
_ESCAPED_SURROGATE: Final = re.compile(rb"\\u[dD][89a-fA-F]")

Problem = Literal["too_big", "too_deep", "not_utf8", "not_json", "ambiguous", "shape"]


class FrameError(ValueError):
    """A frame that is not taken; ``problem`` is a stable word for why."""

    def __init__(self, *, problem: Problem, detail: str) -> None:
        """Keep the stable word apart from the sentence for people."""
        super().__init__(detail)
        self.problem: Problem = problem


def encode(message: Mapping[str, object], *, bytes_max: int) -> bytes:
    """Return header and body of a message.

    Raises:
        FrameError: The body would be longer than ``bytes_max``, or the message holds
            what strict JSON cannot carry.
    """
    try:
        body = json.dumps(
            message, ensure_ascii=False, allow_nan=False, separators=(",", ":")
        ).encode()
    except RecursionError:
        raise FrameError(
            problem="too_deep", detail="the message nests too deeply"
        ) from None
    except (TypeError, ValueError) as error:
        raise FrameError(problem="not_json", detail=str(error)) from None
    if len(body) > bytes_max:
        problem = f"a frame of {len(body)} bytes, more than the {bytes_max} allowed"
        raise FrameError(problem="too_big", detail=problem)
    return len(body).to_bytes(HEADER_BYTES, "big") + body


def size(header: bytes, *, bytes_max: int) -> int:
    """Return how many bytes of body follow a header; at least 1.

    Raises:
        FrameError: The body would be empty or longer than ``bytes_max``.
    """
    count = int.from_bytes(header, "big")
    if len(header) != HEADER_BYTES or not count:
        raise FrameError(problem="shape", detail="a frame starts with its length")
    if count > bytes_max:
        problem = f"a frame of {count} bytes, more than the {bytes_max} allowed"
        raise FrameError(problem="too_big", detail=problem)
    return count


def decode(body: bytes, *, depth_max: int, floats: bool = False) -> dict[str, object]:
    """Read the JSON object in a frame's body.

    Args:
        body: UTF-8 without a byte order mark.
        depth_max: Deepest nesting; the object itself has depth 1.
        floats: Accept numbers with a fraction or exponent, as long as they are finite.

    Raises:
        FrameError: It is not strict JSON, too deep, or not an object.
    """
    value = loads(body, depth_max=depth_max, floats=floats)
    if not isinstance(value, dict):
        raise FrameError(problem="shape", detail="a frame holds a JSON object")
    return value


def loads(body: bytes, *, depth_max: int, floats: bool = False) -> object:
    """Read one JSON document; the arguments and errors are those of `decode`."""
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError:
        raise FrameError(problem="not_utf8", detail="the text is not UTF-8") from None
    _refuse_depth(body, depth_max)
    decoder = json.JSONDecoder(
        object_pairs_hook=_object_of_unique_names,
        parse_int=_integer,
        parse_float=_finite if floats else _refuse_number,
        parse_constant=_refuse_number,
    )
    try:
        value: object = decoder.decode(text)
    except json.JSONDecodeError as error:
        raise FrameError(
            problem="not_json", detail=f"{error.msg} at {error.pos}"
        ) from None
    if _ESCAPED_SURROGATE.search(body):
        _refuse_surrogates(value)
    return value


def _refuse_depth(body: bytes, depth_max: int) -> None:
    """Refuse nesting before a recursive reader sees it."""
    if body.count(b"[") + body.count(b"{") <= depth_max:
        return
    depth = 0
    for token in _TOKENS.finditer(body):
        match token.group():
            case b"[" | b"{":
                depth += 1
                if depth > depth_max:
                    problem = f"nested more than {depth_max} deep"
                    raise FrameError(problem="too_deep", detail=problem)
            case b"]" | b"}":
                depth -= 1
            case _:
                pass


def _object_of_unique_names(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise FrameError(problem="ambiguous", detail="a name stands twice in an object")
    return found


def _integer(literal: str) -> int:
    # The length comes first: reading a long literal costs quadratic time.
    if len(literal) <= _NUMBER_CHARS:
        number = int(literal)
        if -INTEGER_MAX <= number <= INTEGER_MAX:
            return number
    return _refuse_number(literal)


def _finite(literal: str) -> float:
    number = float(literal)
    if not -INTEGER_MAX <= number <= INTEGER_MAX:
        _refuse_number(literal)
    return number


def _refuse_number(_literal: str) -> NoReturn:
    raise FrameError(
        problem="ambiguous", detail="a number is no plain integer within 2^53-1"
    )


def _refuse_surrogates(value: object) -> None:
    # A pair of escapes is a character; a lone one has no encoding.
    waiting = [value]
    while waiting:
        match waiting.pop():
            case str() as text if _SURROGATES.search(text):
                raise FrameError(
                    problem="ambiguous", detail="a text holds a lone surrogate"
                )
            case dict() as found:
                waiting += [*found, *found.values()]
            case list() as found:
                waiting += found
            case _:
                pass
