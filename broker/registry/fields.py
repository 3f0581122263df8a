"""Read the fields of a manifest: each in its one form, or an error that names it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

STATUSES_MAX = 16
POINTER = re.compile(r"(/([^~/]|~[01])*){1,16}")
"""A JSON pointer of up to 16 steps, as manifests write it."""


def only(raw: Mapping[str, Any], known: set[str], where: str) -> None:
    """Refuse a table that has a field beyond the known ones."""
    unknown = sorted(set(raw) - known)
    if unknown:
        msg = f"unknown field {unknown[0]!r} in {where}"
        raise ValueError(msg)


def integer(value: object, where: str, *, low: int = 1, high: int) -> int:
    """Return a plain integer within its limits."""
    if type(value) is not int or not low <= value <= high:
        msg = f"{where} must be an integer from {low} to {high}"
        raise ValueError(msg)
    return value


def text(
    value: object, where: str, form: re.Pattern[str], *, empty: bool = False
) -> str:
    """Return a text of this form, or an empty one where that is allowed."""
    if isinstance(value, str) and (form.fullmatch(value) or (empty and not value)):
        return value
    msg = f"{where} is malformed"
    raise ValueError(msg)


def flag(value: object, where: str) -> bool:
    """Return true or false."""
    if not isinstance(value, bool):
        msg = f"{where} must be true or false"
        raise TypeError(msg)
    return value


def statuses(value: object, where: str, *, low: int, high: int) -> frozenset[int]:
    """Return a set of HTTP statuses within a range."""
    if not isinstance(value, list) or len(value) > STATUSES_MAX:
        msg = f"{where} must be a list of at most {STATUSES_MAX} statuses"
        raise ValueError(msg)
    return frozenset(integer(item, where, low=low, high=high) for item in value)
