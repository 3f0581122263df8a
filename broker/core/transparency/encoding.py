"""Decode base64 so that each value has exactly one spelling.

The standard library ignores loose trailing bits; two different texts would then carry
the same hash or signature. (The URL alphabet is read by `broker.core.jwk`.)
"""

from __future__ import annotations

import base64
import binascii


class EncodingError(ValueError):
    """A text is not the one base64 spelling of any value."""


def to_base64(data: bytes) -> str:
    """Encode with the standard alphabet and padding (RFC 4648 section 4)."""
    return base64.b64encode(data).decode("ascii")


def from_base64(text: str, *, bytes_exact: int | None = None) -> bytes:
    """Decode standard base64 with padding.

    Args:
        text: The encoded value.
        bytes_exact: Length that the value must have, or None for any.

    Raises:
        EncodingError: Not the one spelling of a value, or not ``bytes_exact`` long.

    Source: RFC 4648 sections 3.5 and 4.
    """
    try:
        data = base64.b64decode(text.encode("ascii"), validate=True)
    except (binascii.Error, UnicodeEncodeError):
        msg = "not base64"
        raise EncodingError(msg) from None
    if to_base64(data) != text:
        msg = "not the one base64 spelling of its value"
        raise EncodingError(msg)
    if bytes_exact is not None and len(data) != bytes_exact:
        msg = f"{len(data)} bytes where {bytes_exact} belong"
        raise EncodingError(msg)
    return data
