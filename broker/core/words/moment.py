"""Moments: one way to write a time, RFC 3339 in UTC with microseconds and ``Z``."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Final

_FORM: Final = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d{1,6})?Z", re.ASCII)


def read_moment(text: object) -> datetime:
    """Read a time in UTC; up to six fractional digits, always with ``Z``.

    Raises:
        ValueError: Not a string of this form, or no such time.

    Source: RFC 3339, section 5.6, without its offsets and lower-case letters.
    """
    if not isinstance(text, str) or not _FORM.fullmatch(text):
        msg = "not an RFC 3339 time in UTC with Z"
        raise ValueError(msg)
    return datetime.fromisoformat(text)


def write_moment(moment: datetime) -> str:
    """Write a time with microseconds and ``Z``.

    Raises:
        ValueError: The time is naive: nobody knows which zone was meant.
    """
    if moment.tzinfo is None:
        msg = "a moment must carry a time zone"
        raise ValueError(msg)
    text = moment.astimezone(UTC).isoformat(timespec="microseconds")
    return text.removesuffix("+00:00") + "Z"
