"""Write what every change leaves behind: journal entry, refund, gift card balance.

Every function runs inside a transaction of the caller.
"""

import sqlite3
from dataclasses import dataclass
from typing import Final

from infra.democrm.limits import AMOUNT_MINOR_UNITS_MAX
from infra.democrm.words import Answer, Change, Occasion, refusal

GIFT_CARD: Final = "gift_card"


@dataclass(frozen=True, slots=True)
class RefundRules:
    """Which of the shop's rules this CRM enforces; a careless upstream has fewer."""

    refuse_over_refund: bool = True
    """Refunds together never exceed what was paid."""

    refuse_other_payment_method: bool = True
    """A refund goes to a method the order was paid with, or to a gift card."""


@dataclass(frozen=True, slots=True)
class RefundWish:
    """What a caller wants refunded; ``amount_minor_units`` is positive cents."""

    amount_minor_units: int
    payment_method_id: str
    reference: str


def refused_method(
    connection: sqlite3.Connection,
    customer_id: str,
    order_id: str,
    wish: RefundWish,
    rules: RefundRules,
) -> Answer | None:
    """Say why the money may not go to this payment method, or None if it may."""
    row = connection.execute(
        "SELECT source FROM payment_methods"
        " WHERE customer_id = ? AND payment_method_id = ?",
        (customer_id, wish.payment_method_id),
    ).fetchone()
    field = "/payment_method_id"
    if row is None:
        return refusal(422, "unknown_payment_method", field=field)
    if not rules.refuse_other_payment_method or row[0] == GIFT_CARD:
        return None
    original = connection.execute(
        "SELECT 1 FROM payments WHERE order_id = ? AND kind = 'payment'"
        " AND payment_method_id = ?",
        (order_id, wish.payment_method_id),
    ).fetchone()
    if original is None:
        return refusal(422, "payment_method_not_allowed", field=field)
    return None


def is_full(
    connection: sqlite3.Connection, count: str, object_id: str, *, most: int
) -> bool:
    """Say whether the object has ``most`` entries; ``count`` is a query for them."""
    (found,) = connection.execute(count, (object_id,)).fetchone()
    return bool(found >= most)


def insert_refund(
    connection: sqlite3.Connection,
    occasion: Occasion,
    order_id: str,
    *,
    seq: int,
    wish: RefundWish,
) -> str:
    """Write a refund, also to the gift card's balance, and return its id."""
    refund_id = f"refund_{seq:08d}"
    move_balance(
        connection, wish.payment_method_id, minor_units=wish.amount_minor_units
    )
    connection.execute(
        "INSERT INTO payments (order_id, kind, amount_minor_units, payment_method_id,"
        " refund_id, reference, created_at) VALUES (?, 'refund', ?, ?, ?, ?, ?)",
        (
            order_id,
            wish.amount_minor_units,
            wish.payment_method_id,
            refund_id,
            wish.reference,
            occasion.at,
        ),
    )
    return refund_id


def insert_payment(
    connection: sqlite3.Connection,
    occasion: Occasion,
    order_id: str,
    *,
    wish: RefundWish,
    reverses: str | None = None,
) -> None:
    """Write a payment that the customer makes, also off the gift card's balance.

    ``reverses`` names the refund that it takes back.
    """
    move_balance(
        connection, wish.payment_method_id, minor_units=-wish.amount_minor_units
    )
    connection.execute(
        "INSERT INTO payments (order_id, kind, amount_minor_units, payment_method_id,"
        " reference, created_at, reverses) VALUES (?, 'payment', ?, ?, ?, ?, ?)",
        (
            order_id,
            wish.amount_minor_units,
            wish.payment_method_id,
            wish.reference,
            occasion.at,
            reverses,
        ),
    )


def move_balance(
    connection: sqlite3.Connection, payment_method_id: str, *, minor_units: int
) -> None:
    """Add to a gift card's balance; other methods have none and are left alone."""
    # A careless upstream may refund without end: what it shows stays exact (RFC 8259).
    connection.execute(
        "UPDATE payment_methods"
        " SET balance_minor_units = min(balance_minor_units + ?, ?)"
        " WHERE payment_method_id = ? AND source = ?",
        (minor_units, AMOUNT_MINOR_UNITS_MAX, payment_method_id, GIFT_CARD),
    )


def record(connection: sqlite3.Connection, occasion: Occasion, change: Change) -> int:
    """Write the journal entry and return its number, from which ids are made."""
    cursor = connection.execute(
        "INSERT INTO journal (at, kind, object, customer_id, amount_minor_units,"
        " reference, idempotency_key) VALUES (?, ?, ?, ?, ?, ?, ?)",
        (
            occasion.at,
            change.kind,
            change.object_id,
            change.customer_id,
            change.amount_minor_units,
            change.reference,
            occasion.idempotency_key,
        ),
    )
    if cursor.lastrowid is None:
        msg = "SQLite gave the journal entry no number"
        raise AssertionError(msg)
    return cursor.lastrowid
