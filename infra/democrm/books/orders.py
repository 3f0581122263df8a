"""Modify pending orders, and take delivered ones back, by the shop's rules.

Every function runs inside a transaction of the caller and checks before it writes, so
that a refusal leaves no trace.

Source: data/policy.md, the shop's policy.
"""

import json
import sqlite3
from dataclasses import dataclass
from typing import Any, Final

from infra.democrm.books import reads
from infra.democrm.books.entries import (
    GIFT_CARD,
    RefundRules,
    RefundWish,
    insert_payment,
    insert_refund,
    record,
    refused_method,
)
from infra.democrm.words import CURRENCY, Answer, Change, Occasion, canonical, refusal

PENDING: Final = "pending"
DELIVERED: Final = "delivered"
_METHOD_FIELD: Final = "/payment_method_id"


@dataclass(frozen=True, slots=True)
class Swap:
    """Which items become which others, and how the difference in price is settled.

    ``direction`` is ``charge`` (the customer pays) or ``refund``; at most
    ``minor_units_max`` cents may move that way. Nothing moves between equal prices.
    """

    item_ids: tuple[str, ...]
    new_item_ids: tuple[str, ...]
    payment_method_id: str
    direction: str
    minor_units_max: int
    reference: str


@dataclass(frozen=True, slots=True)
class Order:
    """One order as it stands; ``changed`` is what differs from how it was loaded."""

    order_id: str
    customer_id: str
    status: str
    items: list[dict[str, Any]]
    changed: dict[str, Any]


class RefusedError(Exception):
    """A wish that the shop's rules refuse; ``answer`` says why."""

    def __init__(self, answer: Answer) -> None:
        """Keep the answer."""
        super().__init__(answer.status)
        self.answer = answer


def modify_address(
    connection: sqlite3.Connection,
    occasion: Occasion,
    order_id: str,
    *,
    address: dict[str, str],
    reference: str,
) -> Answer:
    """Send a pending order elsewhere."""
    order = _order(connection, order_id, PENDING)
    change = Change("order_address", order_id, order.customer_id, None, reference)
    record(connection, occasion, change)
    _store(connection, order, order.status, address=address)
    return Answer(200, {**_head(order, order.status, reference), "address": address})


def modify_payment(
    connection: sqlite3.Connection,
    occasion: Occasion,
    order_id: str,
    *,
    wish: RefundWish,
) -> Answer:
    """Pay a pending order another way, and give back what was paid the first way.

    ``wish`` names the new method, and the whole amount, which must be what was paid.
    """
    order = _order(connection, order_id, PENDING)
    source = _method(connection, order, wish.payment_method_id)
    paid = connection.execute(
        "SELECT kind, amount_minor_units, payment_method_id FROM payments"
        " WHERE order_id = ?",
        (order_id,),
    ).fetchall()
    if len(paid) != 1 or paid[0][0] != "payment":
        raise RefusedError(refusal(409, "already_changed"))
    _, total, original = paid[0]
    if original == wish.payment_method_id:
        raise RefusedError(refusal(422, "same_payment_method", field=_METHOD_FIELD))
    if total != wish.amount_minor_units:
        raise RefusedError(refusal(409, "amount_mismatch", amount_minor_units=total))
    if source == GIFT_CARD:
        _check_balance(connection, wish.payment_method_id, total)
    change = Change("payment", order_id, order.customer_id, total, wish.reference)
    seq = record(connection, occasion, change)
    insert_payment(connection, occasion, order_id, wish=wish)
    back = RefundWish(total, original, wish.reference)
    insert_refund(connection, occasion, order_id, seq=seq, wish=back)
    body = {
        **_head(order, order.status, wish.reference),
        **_money(total),
        "payment_method_id": wish.payment_method_id,
        "paid_minor_units": 2 * total,
        "refunded_minor_units": total,
    }
    return Answer(200, body)


def modify_items(
    connection: sqlite3.Connection, occasion: Occasion, order_id: str, *, swap: Swap
) -> Answer:
    """Swap items of a pending order, once, and settle the difference in price."""
    order = _order(connection, order_id, PENDING)
    pairs, difference = _swapped(connection, order, swap)
    moved = abs(difference)
    status = "pending (item modified)"
    change = Change("items", order_id, order.customer_id, moved, swap.reference)
    seq = record(connection, occasion, change)
    if moved:
        wish = RefundWish(moved, swap.payment_method_id, swap.reference)
        if difference > 0:
            insert_payment(connection, occasion, order_id, wish=wish)
        else:
            insert_refund(connection, occasion, order_id, seq=seq, wish=wish)
    items = list(order.items)
    for place, new in pairs:
        items[place] = {**items[place], **new}
    _store(connection, order, status, items=items)
    body = _settled(order, status, swap, difference)
    paid, _ = reads.totals(connection, order_id)
    return Answer(200, {**body, "paid_minor_units": paid})


def exchange(
    connection: sqlite3.Connection, occasion: Occasion, order_id: str, *, swap: Swap
) -> Answer:
    """Take items of a delivered order back for others, once.

    The difference in price is settled when the items are back.
    """
    order = _order(connection, order_id, DELIVERED)
    _, difference = _swapped(connection, order, swap)
    status = "exchange requested"
    change = Change(
        "exchange", order_id, order.customer_id, abs(difference), swap.reference
    )
    record(connection, occasion, change)
    body = _settled(order, status, swap, difference)
    _store(
        connection,
        order,
        status,
        exchange_items=list(swap.item_ids),
        exchange_new_items=list(swap.new_item_ids),
        exchange_payment_method_id=swap.payment_method_id,
        exchange_price_difference_minor_units=difference,
    )
    paid, _ = reads.totals(connection, order_id)
    return Answer(200, {**body, "paid_minor_units": paid})


def take_back(  # noqa: PLR0913 - two for the books, one order, three of the wish
    connection: sqlite3.Connection,
    occasion: Occasion,
    order_id: str,
    *,
    item_ids: tuple[str, ...],
    wish: RefundWish,
    rules: RefundRules,
) -> Answer:
    """Take items of a delivered order back, once; the refund follows them.

    ``wish`` names where the money will go, and the amount, which must be what the
    items cost.
    """
    order = _order(connection, order_id, DELIVERED)
    refused = refused_method(connection, order.customer_id, order_id, wish, rules)
    if refused:
        raise RefusedError(refused)
    price = sum(
        order.items[place]["price_minor_units"] for place in _places(order, item_ids)
    )
    if price != wish.amount_minor_units:
        raise RefusedError(refusal(409, "amount_mismatch", amount_minor_units=price))
    status = "return requested"
    change = Change("return", order_id, order.customer_id, price, wish.reference)
    record(connection, occasion, change)
    _store(
        connection,
        order,
        status,
        return_items=list(item_ids),
        return_payment_method_id=wish.payment_method_id,
    )
    paid, _ = reads.totals(connection, order_id)
    body = {
        **_head(order, status, wish.reference),
        **_money(price),
        "item_ids": list(item_ids),
        "payment_method_id": wish.payment_method_id,
        "paid_minor_units": paid,
    }
    return Answer(200, body)


def _order(connection: sqlite3.Connection, order_id: str, status: str) -> Order:
    row = connection.execute(
        "SELECT customer_id, status, fixed, changed FROM orders WHERE order_id = ?",
        (order_id,),
    ).fetchone()
    if row is None:
        raise RefusedError(refusal(404, "no_such_order"))
    if row[1] != status:
        raise RefusedError(refusal(409, f"not_{status}", status=row[1]))
    changed = json.loads(row[3] or "{}")
    items = {**json.loads(row[2]), **changed}["items"]
    return Order(order_id, row[0], row[1], items, changed)


def _store(
    connection: sqlite3.Connection, order: Order, status: str, /, **more: object
) -> None:
    connection.execute(
        "UPDATE orders SET status = ?, changed = ? WHERE order_id = ?",
        (status, canonical({**order.changed, **more}), order.order_id),
    )


def _method(
    connection: sqlite3.Connection, order: Order, payment_method_id: str
) -> str:
    """Return what kind of method this is, if it is the customer's."""
    row = connection.execute(
        "SELECT source FROM payment_methods"
        " WHERE customer_id = ? AND payment_method_id = ?",
        (order.customer_id, payment_method_id),
    ).fetchone()
    if row is None:
        answer = refusal(422, "unknown_payment_method", field=_METHOD_FIELD)
        raise RefusedError(answer)
    return str(row[0])


def _check_balance(
    connection: sqlite3.Connection, payment_method_id: str, minor_units: int
) -> None:
    (balance,) = connection.execute(
        "SELECT balance_minor_units FROM payment_methods WHERE payment_method_id = ?",
        (payment_method_id,),
    ).fetchone()
    if balance < minor_units:
        raise RefusedError(refusal(409, "insufficient_balance"))


def _places(order: Order, item_ids: tuple[str, ...]) -> list[int]:
    """Return the place in the order of each item; one that is named twice needs two."""
    free = list(range(len(order.items)))
    places = []
    for item_id in item_ids:
        found = [at for at in free if order.items[at]["item_id"] == item_id]
        if not found:
            answer = refusal(422, "item_not_in_order", field="/item_ids")
            raise RefusedError(answer)
        free.remove(found[0])
        places.append(found[0])
    return places


def _swapped(
    connection: sqlite3.Connection, order: Order, swap: Swap
) -> tuple[list[tuple[int, dict[str, Any]]], int]:
    """Return place and new contents of each item, and the difference in cents."""
    source = _method(connection, order, swap.payment_method_id)
    field = "/new_item_ids"
    if len(swap.item_ids) != len(swap.new_item_ids):
        raise RefusedError(refusal(422, "lengths_differ", field=field))
    pairs, difference = [], 0
    places = _places(order, swap.item_ids)
    for place, new_id in zip(places, swap.new_item_ids, strict=True):
        old = order.items[place]
        row = connection.execute(
            "SELECT product_id, available, price_minor_units, options FROM items"
            " WHERE item_id = ?",
            (new_id,),
        ).fetchone()
        if row is None or row[0] != old["product_id"]:
            raise RefusedError(refusal(422, "not_the_same_product", field=field))
        if new_id == old["item_id"]:
            raise RefusedError(refusal(422, "the_same_item", field=field))
        if not row[1]:
            raise RefusedError(refusal(409, "not_available", field=field))
        difference += row[2] - old["price_minor_units"]
        new = {
            "item_id": new_id,
            "price_minor_units": row[2],
            "options": json.loads(row[3]),
        }
        pairs.append((place, new))
    _check_difference(swap, difference)
    if source == GIFT_CARD and difference > 0:
        _check_balance(connection, swap.payment_method_id, difference)
    return pairs, difference


def _check_difference(swap: Swap, difference: int) -> None:
    """Refuse money that would move the other way, or more of it than was said."""
    way = swap.direction if not difference else "charge" if difference > 0 else "refund"
    if way != swap.direction or abs(difference) > swap.minor_units_max:
        raise RefusedError(
            refusal(
                409,
                "difference_not_covered",
                direction=way,
                amount_minor_units=abs(difference),
            )
        )


def _head(order: Order, status: str, reference: str) -> dict[str, object]:
    return {
        "order_id": order.order_id,
        "customer_id": order.customer_id,
        "status": status,
        "reference": reference,
    }


def _money(minor_units: int) -> dict[str, object]:
    return {"amount_minor_units": minor_units, "currency": CURRENCY}


def _settled(
    order: Order, status: str, swap: Swap, difference: int
) -> dict[str, object]:
    return {
        **_head(order, status, swap.reference),
        **_money(abs(difference)),
        "direction": swap.direction,
        "item_ids": list(swap.item_ids),
        "new_item_ids": list(swap.new_item_ids),
        "payment_method_id": swap.payment_method_id,
    }
