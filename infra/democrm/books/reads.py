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
    "SELECT customer_id, view FROM customers ORDER BY customer_id",
    "SELECT product_id, view FROM products ORDER BY product_id",
    """SELECT order_id, customer_id, status, cancel_reason, fixed FROM orders
    ORDER BY order_id""",
    """SELECT order_id, kind, amount_minor_units, payment_method_id, reference
    FROM payments ORDER BY order_id, payment_seq""",
    "SELECT order_id, author, text FROM notes ORDER BY order_id, note_seq",
    """SELECT customer_id, channel, text, reference FROM replies
    ORDER BY customer_id, reply_seq""",
)


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
        "SELECT view FROM customers WHERE customer_id = ?", (customer_id,)
    ).fetchone()
    if row is None:
        return refusal(404, "no_such_customer")
    return Answer(200, json.loads(row[0]))


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
        "SELECT customer_id, status, cancel_reason, fixed FROM orders"
        " WHERE order_id = ?",
        (order_id,),
    ).fetchone()
    if row is None:
        return refusal(404, "no_such_order")
    customer_id, status, cancel_reason, fixed = row
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
        "SELECT count(DISTINCT object) FROM journal WHERE kind != 'reply'"
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
