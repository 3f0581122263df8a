"""Change a customer's affairs, each change with exactly one journal entry.

Every function runs inside a transaction of the caller and checks before it writes, so
that a refusal leaves no trace.
"""

import sqlite3
from dataclasses import dataclass
from typing import Final

from infra.democrm.books import reads
from infra.democrm.books.entries import (
    RefundRules,
    RefundWish,
    insert_payment,
    insert_refund,
    is_full,
    record,
    refused_method,
)
from infra.democrm.limits import (
    AMOUNT_MINOR_UNITS_MAX,
    ENTRIES_PER_OBJECT_MAX,
    NOTES_PER_ORDER_MAX,
)
from infra.democrm.words import CURRENCY, Answer, Change, Occasion, refusal

__all__ = [
    "RefundRules",
    "RefundWish",
    "Reply",
    "Reversal",
    "cancel",
    "note",
    "refund",
    "reply",
    "reverse",
]

_REFUNDS: Final = "SELECT count(*) FROM payments WHERE order_id = ? AND kind = 'refund'"
_NOTES: Final = "SELECT count(*) FROM notes WHERE order_id = ?"
_REPLIES: Final = "SELECT count(*) FROM replies WHERE customer_id = ?"


@dataclass(frozen=True, slots=True)
class Reversal:
    """Which refund is to be taken back, and what the caller says it was."""

    refund_id: str
    amount_minor_units: int
    reference: str


@dataclass(frozen=True, slots=True)
class Reply:
    """What a customer is to be told, and through which channel."""

    channel: str
    text: str
    reference: str


def cancel(
    connection: sqlite3.Connection,
    occasion: Occasion,
    order_id: str,
    *,
    reason: str,
    reference: str,
) -> Answer:
    """Cancel a pending order and pay back what was paid and not yet refunded.

    The money goes to the method that the order was paid with, the last one if that
    was changed.

    Returns:
        200; 404 for an unknown order; 409 for one that is not pending.
    """
    row = connection.execute(
        "SELECT customer_id, status FROM orders WHERE order_id = ?", (order_id,)
    ).fetchone()
    if row is None:
        return refusal(404, "no_such_order")
    customer_id, status = row
    if status != "pending":
        return refusal(409, "not_pending", status=status)
    paid, refunded = reads.totals(connection, order_id)
    rest = max(paid - refunded, 0)
    seq = record(
        connection,
        occasion,
        Change("cancel", order_id, customer_id, rest, reference),
    )
    connection.execute(
        "UPDATE orders SET status = 'cancelled', cancel_reason = ? WHERE order_id = ?",
        (reason, order_id),
    )
    if rest:
        (method_id,) = connection.execute(
            "SELECT payment_method_id FROM payments WHERE order_id = ?"
            " AND kind = 'payment' ORDER BY payment_seq DESC LIMIT 1",
            (order_id,),
        ).fetchone()
        wish = RefundWish(rest, method_id, reference)
        insert_refund(connection, occasion, order_id, seq=seq, wish=wish)
    body = {
        "order_id": order_id,
        "customer_id": customer_id,
        "status": "cancelled",
        "reason": reason,
        "reference": reference,
        "amount_minor_units": rest,
        "currency": CURRENCY,
        "paid_minor_units": paid,
        "refunded_minor_units": refunded + rest,
    }
    return Answer(200, body)


def refund(
    connection: sqlite3.Connection,
    occasion: Occasion,
    order_id: str,
    *,
    wish: RefundWish,
    rules: RefundRules,
) -> Answer:
    """Refund an amount on an order, whatever the order's status.

    Returns:
        201; 404 for an unknown order; 422 for a payment method that is not the
        customer's or that the shop's rule does not allow; 409 when refunds would
        exceed what was paid, or a limit of this CRM.
    """
    row = connection.execute(
        "SELECT customer_id FROM orders WHERE order_id = ?", (order_id,)
    ).fetchone()
    if row is None:
        return refusal(404, "no_such_order")
    (customer_id,) = row
    refused = refused_method(connection, customer_id, order_id, wish, rules)
    if refused:
        return refused
    paid, refunded = reads.totals(connection, order_id)
    total = refunded + wish.amount_minor_units
    if rules.refuse_over_refund and total > paid:
        return refusal(409, "exceeds_paid")
    if total > AMOUNT_MINOR_UNITS_MAX or is_full(
        connection, _REFUNDS, order_id, most=ENTRIES_PER_OBJECT_MAX
    ):
        return refusal(409, "limit_reached")
    change = Change(
        "refund", order_id, customer_id, wish.amount_minor_units, wish.reference
    )
    seq = record(connection, occasion, change)
    refund_id = insert_refund(connection, occasion, order_id, seq=seq, wish=wish)
    body = {
        "refund_id": refund_id,
        "order_id": order_id,
        "customer_id": customer_id,
        "amount_minor_units": wish.amount_minor_units,
        "currency": CURRENCY,
        "payment_method_id": wish.payment_method_id,
        "status": "accepted",
        "paid_minor_units": paid,
        "refunded_minor_units": total,
        "reference": wish.reference,
    }
    return Answer(201, body)


def reverse(
    connection: sqlite3.Connection,
    occasion: Occasion,
    order_id: str,
    *,
    wish: Reversal,
) -> Answer:
    """Take a refund of an order back, whole and once, from where it went.

    Returns:
        201; 404 for an unknown order or refund; 409 when it was taken back before, or
        is of another amount.
    """
    row = connection.execute(
        "SELECT o.customer_id, p.amount_minor_units, p.payment_method_id, r.reverses"
        " FROM orders o JOIN payments p ON p.order_id = o.order_id"
        " LEFT JOIN payments r ON r.reverses = p.refund_id"
        " WHERE o.order_id = ? AND p.refund_id = ?",
        (order_id, wish.refund_id),
    ).fetchone()
    if row is None:
        return refusal(404, "no_such_refund")
    customer_id, amount, method_id, reversed_before = row
    if reversed_before is not None:
        return refusal(409, "reversed_before")
    if amount != wish.amount_minor_units:
        return refusal(409, "another_amount")
    record(
        connection,
        occasion,
        Change("reversal", order_id, customer_id, amount, wish.reference),
    )
    back = RefundWish(amount, method_id, wish.reference)
    insert_payment(connection, occasion, order_id, wish=back, reverses=wish.refund_id)
    paid, refunded = reads.totals(connection, order_id)
    body = {
        "order_id": order_id,
        "refund_id": wish.refund_id,
        "customer_id": customer_id,
        "amount_minor_units": amount,
        "currency": CURRENCY,
        "status": "reversed",
        "paid_minor_units": paid,
        "refunded_minor_units": refunded,
        "reference": wish.reference,
    }
    return Answer(201, body)


def note(
    connection: sqlite3.Connection,
    occasion: Occasion,
    order_id: str,
    *,
    author: str,
    text: str,
) -> Answer:
    """Write a note on an order: 201; 404 for an unknown order; 409 when it is full."""
    row = connection.execute(
        "SELECT customer_id FROM orders WHERE order_id = ?", (order_id,)
    ).fetchone()
    if row is None:
        return refusal(404, "no_such_order")
    if is_full(connection, _NOTES, order_id, most=NOTES_PER_ORDER_MAX):
        return refusal(409, "limit_reached")
    seq = record(connection, occasion, Change("note", order_id, row[0]))
    body = {
        "note_id": f"note_{seq:08d}",
        "order_id": order_id,
        "author": author,
        "text": text,
        "created_at": occasion.at,
    }
    connection.execute(
        "INSERT INTO notes (note_id, order_id, author, text, created_at)"
        " VALUES (:note_id, :order_id, :author, :text, :created_at)",
        body,
    )
    return Answer(201, body)


def reply(
    connection: sqlite3.Connection,
    occasion: Occasion,
    customer_id: str,
    *,
    what: Reply,
) -> Answer:
    """Tell a customer something: 201; 404 for an unknown customer; 409 when full."""
    known = connection.execute(
        "SELECT 1 FROM customers WHERE customer_id = ?", (customer_id,)
    ).fetchone()
    if known is None:
        return refusal(404, "no_such_customer")
    if is_full(connection, _REPLIES, customer_id, most=ENTRIES_PER_OBJECT_MAX):
        return refusal(409, "limit_reached")
    change = Change("reply", customer_id, customer_id, reference=what.reference)
    seq = record(connection, occasion, change)
    body = {
        "reply_id": f"reply_{seq:08d}",
        "customer_id": customer_id,
        "channel": what.channel,
        "text": what.text,
        "reference": what.reference,
        "delivered_at": occasion.at,
    }
    connection.execute(
        "INSERT INTO replies"
        " (reply_id, customer_id, channel, text, reference, delivered_at) VALUES"
        " (:reply_id, :customer_id, :channel, :text, :reference, :delivered_at)",
        body,
    )
    return Answer(201, body)
