"""What a limit counts over, and what makes a rule one that can be counted."""

from __future__ import annotations

import hashlib
import json
import re
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_RULE_ID = re.compile(r"[a-z][a-z0-9_.-]{0,63}")


class Scope(StrEnum):
    """What a rule counts over; several together count each combination apart."""

    TENANT = "tenant"
    USE_CASE = "use_case"
    AGENT = "agent"
    TOOL = "tool"
    CONNECTOR = "connector"
    CUSTOMER = "customer"
    STANDING_APPROVAL = "standing_approval"
    OBJECT = "object"


RATE_SCOPES = frozenset(
    {
        Scope.TENANT,
        Scope.USE_CASE,
        Scope.AGENT,
        Scope.TOOL,
        Scope.CONNECTOR,
        Scope.CUSTOMER,
    }
)


def scope_of(per: frozenset[Scope], values: Mapping[Scope, str]) -> list[str] | None:
    """Return names and values in a fixed order, None if a scope is missing."""
    scope: list[str] = []
    for name in sorted(per):
        value = values.get(name)
        if not value:
            return None
        scope += (name.value, value)
    return scope


def hash_of(parts: Sequence[str]) -> str:
    """Return one name for many parts, in lower-case hex."""
    # A JSON list has one reading, so no two scopes share an id by clever values.
    text = json.dumps(parts, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def is_rule_id(name: str) -> bool:
    """Return whether a word can name a rule."""
    return _RULE_ID.fullmatch(name) is not None


def check_rule(rule_id: str, per: frozenset[Scope]) -> None:
    """Refuse a rule without a name, or one that counts over nothing.

    Raises:
        ValueError: it is one.
    """
    if not is_rule_id(rule_id):
        refuse(f"{rule_id!r} cannot name a rule")
    if not per:
        refuse(f"{rule_id}: a rule counts over at least one scope")


def check_whole(name: str, value: int, *, least: int, most: int) -> None:
    """Refuse what is not a whole number within bounds.

    Raises:
        ValueError: it is none.
    """
    # A bool is an int in Python, and a float may look whole: ask for the exact type.
    if type(value) is not int or not least <= value <= most:
        refuse(f"{name} must be a whole number within {least}..{most}")


def refuse(problem: str) -> None:
    """Say what is wrong with a rule.

    Raises:
        ValueError: always.
    """
    raise ValueError(problem)
