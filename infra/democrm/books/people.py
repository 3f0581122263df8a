"""Change what belongs to a customer beside orders: address, access, offers, handover.

Every function runs inside a transaction of the caller and checks before it writes, so
that a refusal leaves no trace.
"""

import json
import sqlite3
from dataclasses import dataclass
from typing import Any, Final

from infra.democrm.books.entries import is_full, record
from infra.democrm.books.store import folded_name
from infra.democrm.limits import ENTRIES_PER_OBJECT_MAX
from infra.democrm.words import Answer, Change, Occasion, canonical, refusal

OFFERS: Final = ("free_shipping_30_days", "extended_returns_90_days", "member_pricing")
"""What the shop has to give; a customer gets each at most once."""

_REQUESTS: Final = (
    "SELECT count(*) FROM requests WHERE customer_id = ? AND kind != 'offer'"
)


@dataclass(frozen=True, slots=True)
class Wish:
    """What is asked for a customer; ``what`` is a channel, an offer or a summary."""

    kind: str
    what: str
    reference: str


def modify_address(
    connection: sqlite3.Connection,
    occasion: Occasion,
    customer_id: str,
    *,
    address: dict[str, str],
    reference: str,
) -> Answer:
    """Change the customer's own address: 200; 404 for an unknown customer."""
    view = _view(connection, customer_id)
    if view is None:
        return refusal(404, "no_such_customer")
    change = Change("customer_address", customer_id, customer_id, None, reference)
    record(connection, occasion, change)
    # The zip code is one of the details by which a customer is found.
    name = folded_name(
        first_name=view["name"]["first_name"],
        last_name=view["name"]["last_name"],
        zip_code=address["zip"],
    )
    connection.execute(
        "UPDATE customers SET changed = ?, name_folded = ? WHERE customer_id = ?",
        (canonical({"address": address}), name, customer_id),
    )
    body = {"customer_id": customer_id, "address": address, "reference": reference}
    return Answer(200, body)


def ask(
    connection: sqlite3.Connection,
    occasion: Occasion,
    customer_id: str,
    *,
    wish: Wish,
) -> Answer:
    """Reset access, grant an offer, or hand over to a person.

    Returns:
        201; 404 for an unknown customer; 409 for an offer that was granted before, or
        a limit of this CRM.
    """
    view = _view(connection, customer_id)
    if view is None:
        return refusal(404, "no_such_customer")
    granted = connection.execute(
        "SELECT 1 FROM requests WHERE kind = 'offer' AND customer_id = ? AND what = ?",
        (customer_id, wish.what),
    ).fetchone()
    if wish.kind == "offer" and granted is not None:
        return refusal(409, "already_granted")
    if is_full(connection, _REQUESTS, customer_id, most=ENTRIES_PER_OBJECT_MAX):
        return refusal(409, "limit_reached")
    change = Change(wish.kind, customer_id, customer_id, None, wish.reference)
    seq = record(connection, occasion, change)
    body: dict[str, object] = {
        "request_id": f"{wish.kind}_{seq:08d}",
        "kind": wish.kind,
        "customer_id": customer_id,
        "what": wish.what,
        "reference": wish.reference,
        "created_at": occasion.at,
    }
    connection.execute(
        "INSERT INTO requests"
        " (request_id, kind, customer_id, what, reference, created_at) VALUES"
        " (:request_id, :kind, :customer_id, :what, :reference, :created_at)",
        body,
    )
    if wish.kind == "access_reset":
        body["sent_to"] = _masked(view["email"])
    return Answer(201, body)


def _view(connection: sqlite3.Connection, customer_id: str) -> dict[str, Any] | None:
    row = connection.execute(
        "SELECT view FROM customers WHERE customer_id = ?", (customer_id,)
    ).fetchone()
    return None if row is None else dict(json.loads(row[0]))


def _masked(email: str) -> str:
    name, _, domain = email.partition("@")
    return f"{name[:1]}***@{domain}"
