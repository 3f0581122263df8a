"""Grants: what a token narrows its holder to, and never widens.

A client asks for a narrower token with ``authorization_details`` or, where its library
has no such thing, with scopes (``interaction:<id>``, ``tool:<name>``). What the signed
row does not allow no grant can add.

Source: RFC 9396 (authorization_details); RFC 6749 section 3.3 (scope).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from broker.core.canonical import CanonicalError, parse_json
from broker.core.words.effect import Tier
from broker.core.words.money import AMOUNT_MINOR_UNITS_MAX, is_currency
from broker.core.words.subject import Grant

if TYPE_CHECKING:
    from collections.abc import Mapping
    from collections.abc import Set as AbstractSet

DETAILS_TYPE: Final = "counterfoil"
DETAILS_BYTES_MAX: Final = 4_096
DETAILS_DEPTH_MAX: Final = 3
GRANT_TOOLS_MAX: Final = 64
SCOPE_CHARS_MAX: Final = 2_048
COUNT_MAX: Final = 1_000_000
"""Most actions that a grant can be limited to: more is no limit worth its row."""

_FIELDS = frozenset(
    {
        "type",
        "interaction",
        "tools",
        "amount_max_minor_units",
        "currency",
        "tier_max",
        "count_max",
        "customer",
    }
)
_CUSTOMER = re.compile(r"[A-Za-z0-9._-]{1,128}")
INTERACTION_ID: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_TOOL = re.compile(r"[a-z][a-z0-9_]{0,31}(?:\.[a-z][a-z0-9_]{0,31}){1,3}")


class GrantError(ValueError):
    """A grant that cannot be read or that contradicts itself."""


def parse_details(text: str) -> Grant:
    """Read the ``authorization_details`` parameter: a list of exactly one grant.

    Raises:
        GrantError: Not that; the message names the field.
    """
    try:
        value = parse_json(
            text.encode(), bytes_max=DETAILS_BYTES_MAX, depth_max=DETAILS_DEPTH_MAX
        )
    except (CanonicalError, UnicodeEncodeError):
        msg = "authorization_details is no strict JSON"
        raise GrantError(msg) from None
    if not isinstance(value, list) or len(value) != 1:
        msg = "authorization_details is a list of exactly one object"
        raise GrantError(msg)
    (detail,) = value
    if not isinstance(detail, dict):
        msg = "authorization_details holds an object"
        raise GrantError(msg)
    return read_detail(detail)


def read_detail(detail: Mapping[str, Any]) -> Grant:
    """Read one object of ``authorization_details``.

    Raises:
        GrantError: A field is unknown, or has the wrong type or range.
    """
    if detail.get("type") != DETAILS_TYPE:
        msg = f"the type of authorization_details is {DETAILS_TYPE}"
        raise GrantError(msg)
    if not detail.keys() <= _FIELDS:
        msg = "authorization_details has a field that is not known here"
        raise GrantError(msg)
    amount_max, currency = _cap(detail)
    return Grant(
        tools=_tools(detail),
        amount_max_minor_units=amount_max,
        currency=currency,
        interaction_id=_interaction(detail),
        tier_max=_whole(detail, "tier_max", low=min(Tier), high=max(Tier)),
        count_max=_whole(detail, "count_max", low=1, high=COUNT_MAX),
        customer_ref=_customer(detail),
    )


def write_detail(grant: Grant) -> dict[str, Any]:
    """Return a grant as one object of ``authorization_details``."""
    detail: dict[str, Any] = {"type": DETAILS_TYPE}
    if grant.interaction_id:
        detail["interaction"] = grant.interaction_id
    if grant.tools:
        detail["tools"] = sorted(grant.tools)
    if grant.amount_max_minor_units is not None:
        detail["amount_max_minor_units"] = grant.amount_max_minor_units
        detail["currency"] = grant.currency
    if grant.tier_max is not None:
        detail["tier_max"] = grant.tier_max
    if grant.count_max is not None:
        detail["count_max"] = grant.count_max
    if grant.customer_ref:
        detail["customer"] = grant.customer_ref
    return detail


def parse_scope(scope: str) -> Grant:
    """Read the ``scope`` parameter: ``interaction:<id>`` and ``tool:<name>`` words.

    Raises:
        GrantError: A word of another kind, one twice, or more than GRANT_TOOLS_MAX.
    """
    if len(scope) > SCOPE_CHARS_MAX:
        msg = f"scope is longer than {SCOPE_CHARS_MAX} characters"
        raise GrantError(msg)
    words = scope.split(" ") if scope else []
    if len({*words}) != len(words):
        msg = "scope repeats itself"
        raise GrantError(msg)
    interaction, tools = "", set[str]()
    for word in words:
        kind, _, name = word.partition(":")
        if kind == "interaction" and not interaction and INTERACTION_ID.fullmatch(name):
            interaction = name
        elif kind == "tool" and _TOOL.fullmatch(name):
            tools.add(name)
        else:
            msg = "scope takes interaction:<id> and tool:<name>"
            raise GrantError(msg)
    if len(tools) > GRANT_TOOLS_MAX:
        msg = f"scope names more than {GRANT_TOOLS_MAX} tools"
        raise GrantError(msg)
    return Grant(tools=frozenset(tools), interaction_id=interaction)


def narrow(wide: Grant, by: Grant) -> Grant:
    """Return what both grants allow.

    Raises:
        GrantError: Nothing is allowed by both.
    """
    interaction = _one(wide.interaction_id, by.interaction_id, "interactions")
    customer = _one(wide.customer_ref, by.customer_ref, "customers")
    tools = wide.tools & by.tools if wide.tools and by.tools else wide.tools | by.tools
    if wide.tools and by.tools and not tools:
        msg = "no tool is left"
        raise GrantError(msg)
    capped = [g for g in (wide, by) if g.amount_max_minor_units is not None]
    if len({g.currency for g in capped}) > 1:
        msg = "two different currencies are named"
        raise GrantError(msg)
    return Grant(
        tools=tools,
        amount_max_minor_units=_least(
            wide.amount_max_minor_units, by.amount_max_minor_units
        ),
        currency=capped[0].currency if capped else "",
        interaction_id=interaction,
        tier_max=_least(wide.tier_max, by.tier_max),
        count_max=_least(wide.count_max, by.count_max),
        customer_ref=customer,
    )


def is_within(child: Grant, parent: Grant) -> bool:
    """Return whether a child allows nothing that its parent does not, on every axis."""
    tools = not parent.tools or (bool(child.tools) and child.tools <= parent.tools)
    return (
        tools
        and parent.interaction_id in {"", child.interaction_id}
        and parent.customer_ref in {"", child.customer_ref}
        and parent.currency in {"", child.currency}
        and _no_more(child.amount_max_minor_units, parent.amount_max_minor_units)
        and _no_more(child.tier_max, parent.tier_max)
        and _no_more(child.count_max, parent.count_max)
    )


def granted_tools(grant: Grant, row: AbstractSet[str]) -> frozenset[str]:
    """Return the tools of a signed row that a grant leaves; never one more."""
    return frozenset(row & grant.tools if grant.tools else row)


def _no_more(child: int | None, parent: int | None) -> bool:
    return parent is None or (child is not None and child <= parent)


def _least(one: int | None, other: int | None) -> int | None:
    return min((n for n in (one, other) if n is not None), default=None)


def _one(wide: str, by: str, what: str) -> str:
    if "" not in {wide, by} and wide != by:
        msg = f"two different {what} are named"
        raise GrantError(msg)
    return wide or by


def _whole(detail: Mapping[str, Any], name: str, *, low: int, high: int) -> int | None:
    if name not in detail:
        return None
    value = detail[name]
    if type(value) is not int or not low <= value <= high:
        msg = f"{name} is an integer from {low} to {high}"
        raise GrantError(msg)
    return value


def _customer(detail: Mapping[str, Any]) -> str:
    customer = detail.get("customer", "")
    if "customer" in detail and not (
        isinstance(customer, str) and _CUSTOMER.fullmatch(customer)
    ):
        msg = "customer is no reference"
        raise GrantError(msg)
    return str(customer)


def _interaction(detail: Mapping[str, Any]) -> str:
    interaction = detail.get("interaction", "")
    if "interaction" in detail and not (
        isinstance(interaction, str) and INTERACTION_ID.fullmatch(interaction)
    ):
        msg = "interaction is no id"
        raise GrantError(msg)
    return str(interaction)


def _tools(detail: Mapping[str, Any]) -> frozenset[str]:
    if "tools" not in detail:
        return frozenset()
    tools = detail["tools"]
    # An empty list would read as "no narrowing": whoever sends one means otherwise.
    if not isinstance(tools, list) or not 0 < len(tools) <= GRANT_TOOLS_MAX:
        msg = f"tools is a list of 1 to {GRANT_TOOLS_MAX} names"
        raise GrantError(msg)
    if not all(isinstance(tool, str) and _TOOL.fullmatch(tool) for tool in tools):
        msg = "tools holds something that is no tool's name"
        raise GrantError(msg)
    return frozenset(tools)


def _cap(detail: Mapping[str, Any]) -> tuple[int | None, str]:
    if "amount_max_minor_units" not in detail and "currency" not in detail:
        return None, ""
    amount, currency = detail.get("amount_max_minor_units"), detail.get("currency")
    if type(amount) is not int or not 0 <= amount <= AMOUNT_MINOR_UNITS_MAX:
        msg = f"amount_max_minor_units is an integer from 0 to {AMOUNT_MINOR_UNITS_MAX}"
        raise GrantError(msg)
    if not isinstance(currency, str) or not is_currency(currency):
        msg = "currency is an ISO 4217 code, and stands beside amount_max_minor_units"
        raise GrantError(msg)
    return amount, currency
