"""Read the bodies of signed rows: every field checked, every other one refused.

A body was signed, so a wrong one is our own mistake or a newer version's row. Either
way it does not count.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from broker.core.identity.assertions import KEY_SLOTS_MAX
from broker.core.jwk import JwsError, public_from_jwk, public_to_jwk
from broker.core.words.identity import RegisteredKey
from broker.core.words.moment import read_moment, write_moment

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from collections.abc import Set as AbstractSet
    from datetime import datetime

NAME_CHARS_MAX: Final = 100
TEXT_CHARS_MAX: Final = 500
ITEMS_MAX: Final = 200

_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_NATURAL = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")
_KEY_FIELDS = frozenset({"kid", "jwk", "not_before", "not_after"})


class RowError(ValueError):
    """A row or body that does not count; the message names the field."""


def only(body: Mapping[str, Any], known: AbstractSet[str]) -> None:
    """Refuse a field that is not known here.

    Raises:
        RowError: There is one.
    """
    if not body.keys() <= known:
        msg = "a field is not known here"
        raise RowError(msg)


def text(body: Mapping[str, Any], name: str, *, empty: bool = False) -> str:
    """Return a printable text of up to TEXT_CHARS_MAX characters.

    Raises:
        RowError: It is missing, or holds line breaks or control characters, which could
            forge a line in a log or a terminal.
    """
    value = body.get(name)
    if (
        not isinstance(value, str)
        or not (value or empty)
        or len(value) > TEXT_CHARS_MAX
        or not value.isprintable()
    ):
        msg = f"{name} is no printable text up to {TEXT_CHARS_MAX} characters"
        raise RowError(msg)
    return value


def person_name(body: Mapping[str, Any]) -> str:
    """Return ``name``, of up to NAME_CHARS_MAX printable characters.

    Raises:
        RowError: It is no such text.
    """
    value = text(body, "name")
    if len(value) > NAME_CHARS_MAX:
        msg = f"name is longer than {NAME_CHARS_MAX} characters"
        raise RowError(msg)
    return value


def natural_id(body: Mapping[str, Any], name: str) -> str:
    """Return an id: a UUID, or a word where a name is natural (``retail-care``).

    Raises:
        RowError: It is neither.
    """
    value = body.get(name)
    if not isinstance(value, str) or not _NATURAL.fullmatch(value):
        msg = f"{name} is no id"
        raise RowError(msg)
    return value


def uuid(body: Mapping[str, Any], name: str) -> str:
    """Return a UUID in lower case.

    Raises:
        RowError: It is none.
    """
    value = body.get(name)
    if not isinstance(value, str) or not _UUID.fullmatch(value):
        msg = f"{name} is no id"
        raise RowError(msg)
    return value


def number(body: Mapping[str, Any], name: str, *, low: int, high: int) -> int:
    """Return an integer within bounds.

    Raises:
        RowError: It is none; a bool is none.
    """
    value = body.get(name)
    if type(value) is not int or not low <= value <= high:
        msg = f"{name} is no integer from {low} to {high}"
        raise RowError(msg)
    return value


def items(
    body: Mapping[str, Any],
    name: str,
    *,
    count_min: int = 0,
    count_max: int = ITEMS_MAX,
) -> tuple[str, ...]:
    """Return a list of different short texts, in its order.

    Raises:
        RowError: It is none, or too long or too short.
    """
    value = body.get(name)
    if (
        not isinstance(value, list)
        or not count_min <= len(value) <= count_max
        or not all(isinstance(item, str) and item for item in value)
        or any(len(item) > NAME_CHARS_MAX or not item.isprintable() for item in value)
        or len({*value}) != len(value)
    ):
        msg = f"{name} is no list of {count_min} to {count_max} different words"
        raise RowError(msg)
    return tuple(value)


def word(body: Mapping[str, Any], name: str, known: AbstractSet[str]) -> str:
    """Return one of the known words.

    Raises:
        RowError: It is another.
    """
    value = body.get(name)
    if not isinstance(value, str) or value not in known:
        msg = f"{name} is none of {', '.join(sorted(known))}"
        raise RowError(msg)
    return value


def moment(body: Mapping[str, Any], name: str) -> datetime:
    """Return a time.

    Raises:
        RowError: It is none.
    """
    try:
        return read_moment(body.get(name))
    except ValueError:
        msg = f"{name} is no time"
        raise RowError(msg) from None


def read_keys(body: Mapping[str, Any]) -> tuple[RegisteredKey, ...]:
    """Return the registered keys: up to KEY_SLOTS_MAX, each named by its thumbprint.

    Raises:
        RowError: A key is private, of another sort, misnamed, twice, or one too many.
    """
    raw = body.get("keys")
    if not isinstance(raw, list) or len(raw) > KEY_SLOTS_MAX:
        msg = f"keys is no list of up to {KEY_SLOTS_MAX} keys"
        raise RowError(msg)
    keys = tuple(_key(entry) for entry in raw)
    if len({slot.key.kid for slot in keys}) != len(keys):
        msg = "keys holds one key twice"
        raise RowError(msg)
    return keys


def write_keys(keys: Sequence[RegisteredKey]) -> list[dict[str, Any]]:
    """Return registered keys as a body holds them."""
    return [
        {"kid": slot.key.kid, "jwk": public_to_jwk(slot.key)}
        | ({"not_before": write_moment(slot.not_before)} if slot.not_before else {})
        | ({"not_after": write_moment(slot.not_after)} if slot.not_after else {})
        for slot in keys
    ]


def _key(entry: object) -> RegisteredKey:
    if not isinstance(entry, dict):
        msg = "keys holds something that is no key"
        raise RowError(msg)
    only(entry, _KEY_FIELDS)
    jwk = entry.get("jwk")
    try:
        key = public_from_jwk(jwk if isinstance(jwk, dict) else {})
    except JwsError as error:
        msg = f"keys holds an unusable key: {error.detail}"
        raise RowError(msg) from None
    if entry.get("kid") != key.kid:
        msg = "keys holds a kid that is not the key's thumbprint"
        raise RowError(msg)
    return RegisteredKey(
        key=key,
        not_before=moment(entry, "not_before") if "not_before" in entry else None,
        not_after=moment(entry, "not_after") if "not_after" in entry else None,
    )
