"""Turn calls about one order into the shop's changes of it, one function each."""

import sqlite3
from collections.abc import Callable
from typing import Final

from infra.democrm import limits
from infra.democrm.books import changes, orders
from infra.democrm.books.entries import RefundWish
from infra.democrm.handlers import Call, Desk
from infra.democrm.wire import Fields, parse_object
from infra.democrm.words import CURRENCY, Answer, Occasion

_DIRECTIONS: Final = ("charge", "refund")


def modify_address(desk: Desk, call: Call) -> Answer:
    """Send a pending order elsewhere."""
    body = parse_object(call.body)
    fields = Fields(body)
    address, reference = take_address(fields), take_reference(fields)
    fields.end()
    return _once(
        desk,
        call,
        body,
        lambda db, occasion: orders.modify_address(
            db, occasion, call.object_id, address=address, reference=reference
        ),
    )


def modify_payment(desk: Desk, call: Call) -> Answer:
    """Pay a pending order another way."""
    body = parse_object(call.body)
    fields = Fields(body)
    wish = _take_wish(fields)
    fields.end()
    return _once(
        desk,
        call,
        body,
        lambda db, occasion: orders.modify_payment(
            db, occasion, call.object_id, wish=wish
        ),
    )


def modify_items(desk: Desk, call: Call) -> Answer:
    """Swap items of a pending order."""
    return _swap(desk, call, orders.modify_items)


def exchange(desk: Desk, call: Call) -> Answer:
    """Take items of a delivered order back for others."""
    return _swap(desk, call, orders.exchange)


def take_back(desk: Desk, call: Call) -> Answer:
    """Take items of a delivered order back for money."""
    body = parse_object(call.body)
    fields = Fields(body)
    item_ids, wish = _take_ids(fields, "item_ids"), _take_wish(fields)
    fields.end()

    def run(connection: sqlite3.Connection, occasion: Occasion) -> Answer:
        return orders.take_back(
            connection,
            occasion,
            call.object_id,
            item_ids=item_ids,
            wish=wish,
            rules=desk.mischief.switches.rules,
        )

    return _once(desk, call, body, run)


def reverse(desk: Desk, call: Call) -> Answer:
    """Take a refund back."""
    body = parse_object(call.body)
    fields = Fields(body)
    wish = changes.Reversal(
        refund_id=fields.text("refund_id", chars_max=limits.ID_CHARS_MAX),
        amount_minor_units=_take_money(fields, "amount_minor_units"),
        reference=take_reference(fields),
    )
    fields.end()
    return _once(
        desk,
        call,
        body,
        lambda db, occasion: changes.reverse(db, occasion, call.object_id, wish=wish),
    )


def take_address(fields: Fields) -> dict[str, str]:
    """Take a whole address; its second line may be left out or empty."""
    most = limits.ADDRESS_CHARS_MAX
    second = ""
    if fields.has("address2"):
        second = fields.string("address2", chars_max=most)
    return {
        "address1": fields.text("address1", chars_max=most),
        "address2": second,
        "city": fields.text("city", chars_max=most),
        "state": fields.text("state", chars_max=most),
        "country": fields.text("country", chars_max=most),
        "zip": fields.text("zip", chars_max=limits.ZIP_CHARS_MAX),
    }


def take_reference(fields: Fields) -> str:
    """Take what the caller calls its request."""
    return fields.text("reference", chars_max=limits.REFERENCE_CHARS_MAX)


def _swap(desk: Desk, call: Call, run: Callable[..., Answer]) -> Answer:
    body = parse_object(call.body)
    fields = Fields(body)
    direction = fields.text("direction", chars_max=limits.ID_CHARS_MAX)
    if direction not in _DIRECTIONS:
        fields.refuse("direction", f"must be one of {', '.join(_DIRECTIONS)}")
    swap = orders.Swap(
        item_ids=_take_ids(fields, "item_ids"),
        new_item_ids=_take_ids(fields, "new_item_ids"),
        payment_method_id=_take_method(fields),
        direction=direction,
        minor_units_max=_take_money(fields, "amount_minor_units_max"),
        reference=take_reference(fields),
    )
    fields.end()
    return _once(
        desk,
        call,
        body,
        lambda db, occasion: run(db, occasion, call.object_id, swap=swap),
    )


def _once(
    desk: Desk,
    call: Call,
    body: dict[str, object],
    run: Callable[[sqlite3.Connection, Occasion], Answer],
) -> Answer:
    def or_refused(connection: sqlite3.Connection, occasion: Occasion) -> Answer:
        # Checks come before the first write, so a refusal has nothing to take back.
        try:
            return run(connection, occasion)
        except orders.RefusedError as error:
            return error.answer

    return desk.once(call, body, or_refused)


def _take_wish(fields: Fields) -> RefundWish:
    return RefundWish(
        amount_minor_units=_take_money(fields, "amount_minor_units"),
        payment_method_id=_take_method(fields),
        reference=take_reference(fields),
    )


def _take_money(fields: Fields, name: str) -> int:
    amount = fields.amount(name)
    if fields.text("currency", chars_max=limits.ID_CHARS_MAX) != CURRENCY:
        fields.refuse("currency", f"must be {CURRENCY}")
    return amount


def _take_method(fields: Fields) -> str:
    return fields.text("payment_method_id", chars_max=limits.ID_CHARS_MAX)


def _take_ids(fields: Fields, name: str) -> tuple[str, ...]:
    return fields.texts(name, items_max=limits.ITEMS_MAX, chars_max=limits.ID_CHARS_MAX)
