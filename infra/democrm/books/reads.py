"""Answer questions about customers, orders and products."""

import hashlib
import json
import sqlite3
from typing import Any, Final

from infra.democrm.books.store import folded_name
from infra.democrm.limits import JOURNAL_PAGE_ENTRIES_MAX
from infra.democrm.words import CURRENCY, Answer, canonical, refusal

# Ids and times that the CRM itself made are left out, so that the same calls in the
# same order give the same digest, on any machine and at any time.
_DIGESTED: Final = (
    "SELECT customer_id, view, changed FROM customers ORDER BY customer_id",
    """SELECT payment_method_id, customer_id, balance_minor_units
    FROM payment_methods ORDER BY customer_id, payment_method_id""",
    "SELECT product_id, view FROM products ORDER BY product_id",
    """SELECT order_id, customer_id, status, cancel_reason, fixed, changed FROM orders
    ORDER BY order_id""",
    """SELECT order_id, kind, amount_minor_units, payment_method_id, reference
    FROM payments ORDER BY order_id, payment_seq""",
    "SELECT order_id, author, text FROM notes ORDER BY order_id, note_seq",
    """SELECT customer_id, channel, text, reference FROM replies
    ORDER BY customer_id, reply_seq""",
    """SELECT customer_id, kind, what, reference FROM requests
    ORDER BY customer_id, request_seq""",
)
_OF_CUSTOMERS: Final = (
    "reply",
    "customer_address",
    "access_reset",
    "offer",
    "handover",
)
"""Kinds of changes whose object is a customer; all others change an order."""


def find_by_email(connection: sqlite3.Connection, email: str) -> Answer:
    """Find a customer by e-mail address: 200 with the id, or 404."""
    rows = connection.execute(
        "SELECT customer_id FROM customers WHERE email_folded = ?",
        (email.strip().casefold(),),
    )
    return _match(rows.fetchall())


def find_by_name(
    connection: sqlite3.Connection, *, first_name: str, last_name: str, zip_code: str
) -> Answer:
    """Find a customer by name and zip code: 200 with the id, or 404.

    Two customers of one name in one place are no match: a guess would show one of
    them the other's affairs.
    """
    name = folded_name(
        first_name=first_name.strip(),
        last_name=last_name.strip(),
        zip_code=zip_code.strip(),
    )
    rows = connection.execute(
        "SELECT customer_id FROM customers WHERE name_folded = ?", (name,)
    )
    return _match(rows.fetchall())


def customer(connection: sqlite3.Connection, customer_id: str) -> Answer:
    """Return a customer with payment methods and order ids, or 404."""
    row = connection.execute(
        "SELECT view, changed FROM customers WHERE customer_id = ?", (customer_id,)
    ).fetchone()
    if row is None:
        return refusal(404, "no_such_customer")
    return Answer(200, {**json.loads(row[0]), **json.loads(row[1] or "{}")})


def balances(connection: sqlite3.Connection, customer_id: str) -> Answer:
    """Return what is on a customer's gift cards, or 404."""
    known = connection.execute(
        "SELECT 1 FROM customers WHERE customer_id = ?", (customer_id,)
    ).fetchone()
    if known is None:
        return refusal(404, "no_such_customer")
    cards = rows_as_objects(
        connection,
        "SELECT payment_method_id, balance_minor_units FROM payment_methods"
        " WHERE customer_id = ? AND balance_minor_units IS NOT NULL"
        " ORDER BY payment_method_id",
        customer_id,
    )
    body = {"customer_id": customer_id, "currency": CURRENCY, "gift_cards": cards}
    return Answer(200, body)


def products(connection: sqlite3.Connection, _: str) -> Answer:
    """Return the name and id of every product, by name."""
    found = rows_as_objects(
        connection,
        "SELECT json_extract(view, '$.name') AS name, product_id FROM products"
        " ORDER BY name",
    )
    return Answer(200, {"products": found})


def item(connection: sqlite3.Connection, item_id: str) -> Answer:
    """Return one variant of a product, or 404."""
    found = rows_as_objects(
        connection, "SELECT * FROM items WHERE item_id = ?", item_id
    )
    if not found:
        return refusal(404, "no_such_item")
    variant = found[0]
    options = json.loads(str(variant["options"]))
    available = bool(variant["available"])
    return Answer(200, {**variant, "options": options, "available": available})


def requests(connection: sqlite3.Connection, customer_id: str) -> Answer:
    """Return what was asked for a customer beside orders, oldest first, or 404."""
    known = connection.execute(
        "SELECT 1 FROM customers WHERE customer_id = ?", (customer_id,)
    ).fetchone()
    if known is None:
        return refusal(404, "no_such_customer")
    found = rows_as_objects(
        connection,
        "SELECT request_id, kind, customer_id, what, reference, created_at"
        " FROM requests WHERE customer_id = ? ORDER BY request_seq",
        customer_id,
    )
    return Answer(200, {"requests": found})


def product(connection: sqlite3.Connection, product_id: str) -> Answer:
    """Return a product with its variants, or 404."""
    row = connection.execute(
        "SELECT view FROM products WHERE product_id = ?", (product_id,)
    ).fetchone()
    if row is None:
        return refusal(404, "no_such_product")
    return Answer(200, json.loads(row[0]))


def order(connection: sqlite3.Connection, order_id: str) -> Answer:
    """Return an order with its payments and notes, or 404."""
    row = connection.execute(
        "SELECT customer_id, status, cancel_reason, fixed, changed FROM orders"
        " WHERE order_id = ?",
        (order_id,),
    ).fetchone()
    if row is None:
        return refusal(404, "no_such_order")
    customer_id, status, cancel_reason, fixed, changed = row
    payments = rows_as_objects(
        connection,
        "SELECT kind, amount_minor_units, payment_method_id FROM payments"
        " WHERE order_id = ? ORDER BY payment_seq",
        order_id,
    )
    notes = rows_as_objects(
        connection,
        "SELECT note_id, author, text, created_at FROM notes"
        " WHERE order_id = ? ORDER BY note_seq",
        order_id,
    )
    paid, refunded = totals(connection, order_id)
    body = {
        "order_id": order_id,
        "customer_id": customer_id,
        "status": status,
        "currency": CURRENCY,
        **json.loads(fixed),
        **json.loads(changed or "{}"),
        "paid_minor_units": paid,
        "refunded_minor_units": refunded,
        "payments": payments,
        "notes": notes,
        "cancel_reason": cancel_reason,
    }
    return Answer(200, body)


def refunds(connection: sqlite3.Connection, order_id: str) -> Answer:
    """Return the refunds of an order, oldest first, or 404."""
    row = connection.execute(
        "SELECT customer_id FROM orders WHERE order_id = ?", (order_id,)
    ).fetchone()
    if row is None:
        return refusal(404, "no_such_order")
    found = rows_as_objects(
        connection,
        "SELECT refund_id, order_id, amount_minor_units, payment_method_id, reference,"
        " created_at FROM payments WHERE order_id = ? AND kind = 'refund'"
        " ORDER BY payment_seq",
        order_id,
    )
    fixed = {"customer_id": row[0], "currency": CURRENCY, "status": "accepted"}
    return Answer(200, {"refunds": [{**refund, **fixed} for refund in found]})


def replies(connection: sqlite3.Connection, customer_id: str) -> Answer:
    """Return what a customer was told, oldest first, or 404."""
    known = connection.execute(
        "SELECT 1 FROM customers WHERE customer_id = ?", (customer_id,)
    ).fetchone()
    if known is None:
        return refusal(404, "no_such_customer")
    found = rows_as_objects(
        connection,
        "SELECT reply_id, customer_id, channel, text, reference, delivered_at"
        " FROM replies WHERE customer_id = ? ORDER BY reply_seq",
        customer_id,
    )
    return Answer(200, {"replies": found})


def journal(connection: sqlite3.Connection, since: int) -> list[dict[str, object]]:
    """Return the changes after number ``since``, at most one page of them."""
    return rows_as_objects(
        connection,
        "SELECT seq, at, kind, object, customer_id, amount_minor_units, reference,"
        " idempotency_key FROM journal WHERE seq > ? ORDER BY seq LIMIT ?",
        since,
        JOURNAL_PAGE_ENTRIES_MAX,
    )


def state(connection: sqlite3.Connection) -> Answer:
    """Return a digest of all customers' affairs and how many orders changed."""
    digest = hashlib.sha256()
    for query in _DIGESTED:
        digest.update(b"\n")
        for row in connection.execute(query):
            digest.update(canonical(row).encode())
    (orders_changed,) = connection.execute(
        "SELECT count(DISTINCT object) FROM journal"
        " WHERE kind NOT IN (SELECT value FROM json_each(?))",
        (json.dumps(_OF_CUSTOMERS),),
    ).fetchone()
    return Answer(200, {"digest": digest.hexdigest(), "orders_changed": orders_changed})


def totals(connection: sqlite3.Connection, order_id: str) -> tuple[int, int]:
    """Return what was paid for an order and what went back, in cents."""
    sums = dict(
        connection.execute(
            "SELECT kind, sum(amount_minor_units) FROM payments WHERE order_id = ?"
            " GROUP BY kind",
            (order_id,),
        )
    )
    return sums.get("payment", 0), sums.get("refund", 0)


def rows_as_objects(
    connection: sqlite3.Connection, query: str, *values: object
) -> list[dict[str, object]]:
    """Run a query and return each row as an object named by its columns."""
    cursor = connection.execute(query, values)
    names = [column[0] for column in cursor.description]
    return [dict(zip(names, row, strict=True)) for row in cursor]


def _match(rows: list[Any]) -> Answer:
    if len(rows) != 1:
        return refusal(404, "no_match")
    return Answer(200, {"customer_id": rows[0][0], "matched": True})
