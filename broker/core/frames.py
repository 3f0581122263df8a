"""Frame JSON objects for a stream socket: four bytes of length, then strict JSON.

The runner, the edge and the signer speak frames on unix sockets. A reader takes
HEADER_BYTES bytes, asks `body_bytes` how many follow, takes those and gives them to
`decode_body`; a peer can thus never make it allocate more than ``frame_max`` bytes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from broker.core.canonical import canonical, parse_json

if TYPE_CHECKING:
    from collections.abc import Mapping

    from broker.core.canonical import JsonInput, JsonValue

HEADER_BYTES: Final = 4
"""Length of the header: the body's length in bytes, big endian."""

FRAME_DEPTH_MAX: Final = 64
"""Deepest nesting in a frame, unless the caller asks for less."""


class FrameError(ValueError):
    """A frame is empty, longer than allowed, or holds something else than an object."""


def encode_frame(message: Mapping[str, JsonInput], *, frame_max: int) -> bytes:
    """Return header and body of one message.

    Args:
        message: A JSON object.
        frame_max: Longest body in bytes that the receiver takes.

    Raises:
        FrameError: The body would be longer than ``frame_max``.
        CanonicalError: The message holds something that JSON cannot carry.
    """
    body = canonical(message)
    if len(body) > frame_max:
        msg = f"a frame of {len(body)} bytes is over the {frame_max} allowed"
        raise FrameError(msg)
    return len(body).to_bytes(HEADER_BYTES, "big") + body


def body_bytes(header: bytes, *, frame_max: int) -> int:
    """Return how many bytes of body follow a header; at least 1.

    Raises:
        FrameError: The header has the wrong length, or announces an empty body or one
            longer than ``frame_max``.
    """
    if len(header) != HEADER_BYTES:
        msg = f"a header has {HEADER_BYTES} bytes, got {len(header)}"
        raise FrameError(msg)
    size = int.from_bytes(header, "big")
    if not 1 <= size <= frame_max:
        msg = f"a frame of {size} bytes is outside 1..{frame_max}"
        raise FrameError(msg)
    return size


def decode_body(
    body: bytes,
    *,
    frame_max: int,
    depth_max: int = FRAME_DEPTH_MAX,
    floats: bool = False,
) -> dict[str, JsonValue]:
    """Read one message from a frame's body.

    Args:
        body: What followed the header.
        frame_max: Longest body in bytes.
        depth_max: Deepest nesting.
        floats: Accept numbers with a fraction.

    Raises:
        FrameError: The body is JSON, but no object.
        CanonicalError: The body is not strict JSON, or over a limit.
    """
    message = parse_json(body, bytes_max=frame_max, depth_max=depth_max, floats=floats)
    if not isinstance(message, dict):
        msg = "a frame holds a JSON object"
        raise FrameError(msg)
    return message
