"""Time and identifiers, as the flow's ports."""

from __future__ import annotations

import secrets
import time
from datetime import UTC, datetime

_RANDOM_BITS = 74
_VERSION_7 = 0x7
_VARIANT = 0b10


class SystemClock:
    """The host's clock, in UTC."""

    def now(self) -> datetime:
        """Return the current time."""
        return datetime.now(UTC)


class RandomIds:
    """UUIDv7: milliseconds first, then 74 random bits. Source: RFC 9562, 5.7."""

    def new(self) -> str:
        """Return a fresh id in lower-case text."""
        random = secrets.randbits(_RANDOM_BITS)
        value = time.time_ns() // 1_000_000 << 80
        value |= _VERSION_7 << 76 | (random >> 62) << 64
        value |= _VARIANT << 62 | random & ((1 << 62) - 1)
        text = f"{value:032x}"
        return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))
