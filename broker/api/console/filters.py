"""Which part of the queue a tab shows, as its address says."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlencode

from broker.approving.listing import (
    CURSOR_CHARS_MAX,
    FILTER_CHARS_MAX,
    PAGE_MAX,
    Wanted,
)
from broker.ports.queue import Order

if TYPE_CHECKING:
    from collections.abc import Mapping

_TEXTS = {"customer": "customer_ref", "agent": "agent_id", "tool": "tool"}


def wanted_by(query: Mapping[str, str]) -> Wanted:
    """Return what an address asks for; what it cannot mean is left out."""
    texts = {
        name: query.get(word, "").strip()[:FILTER_CHARS_MAX]
        for word, name in _TEXTS.items()
    }
    amount = query.get("order") == Order.AMOUNT
    cursor, limit = query.get("cursor", "").strip(), query.get("limit", "")
    few = len(limit) <= len(str(PAGE_MAX)) and limit.isascii() and limit.isdigit()
    return Wanted(
        limit=min(max(int(limit), 1), PAGE_MAX) if few else PAGE_MAX,
        order=Order.AMOUNT if amount else Order.EXPIRY,
        customer_ref=texts["customer_ref"],
        agent_id=texts["agent_id"],
        tool=texts["tool"],
        cursor=cursor if len(cursor) <= CURSOR_CHARS_MAX else "",
    )


def address_of(wanted: Wanted) -> str:
    """Return the query that asks for the same again; empty if it asks for all."""
    asked = {word: getattr(wanted, name) for word, name in _TEXTS.items()}
    if wanted.order is not Order.EXPIRY:
        asked["order"] = wanted.order.value
    if wanted.limit != PAGE_MAX:
        asked["limit"] = str(wanted.limit)
    asked["cursor"] = wanted.cursor
    return urlencode({word: value for word, value in asked.items() if value})
