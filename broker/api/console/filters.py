"""Which part of the queue a tab shows, as its address says."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlencode

from broker.approving.listing import FILTER_CHARS_MAX, Wanted
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
    return Wanted(
        order=Order.AMOUNT if amount else Order.EXPIRY,
        customer_ref=texts["customer_ref"],
        agent_id=texts["agent_id"],
        tool=texts["tool"],
    )


def address_of(wanted: Wanted) -> str:
    """Return the query that asks for the same again; empty if it asks for all."""
    asked = {word: getattr(wanted, name) for word, name in _TEXTS.items()}
    if wanted.order is not Order.EXPIRY:
        asked["order"] = wanted.order.value
    return urlencode({word: value for word, value in asked.items() if value})
