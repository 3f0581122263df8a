"""Turn calls about one customer into changes beside orders, one function each."""

import sqlite3
from typing import Final

from infra.democrm import limits
from infra.democrm.books import people, reads
from infra.democrm.handlers import Call, Desk
from infra.democrm.order_handlers import take_address, take_reference
from infra.democrm.wire import Fields, parse_object
from infra.democrm.words import Answer, Occasion

_CHANNELS: Final = ("email",)


def modify_address(desk: Desk, call: Call) -> Answer:
    """Change the customer's own address."""
    body = parse_object(call.body)
    fields = Fields(body)
    address, reference = take_address(fields), take_reference(fields)
    fields.end()

    def run(connection: sqlite3.Connection, occasion: Occasion) -> Answer:
        return people.modify_address(
            connection,
            occasion,
            call.object_id,
            address=address,
            reference=reference,
        )

    return desk.once(call, body, run)


def get_balances(desk: Desk, call: Call) -> Answer:
    """Return what is on the customer's gift cards."""
    return desk.read(call, reads.balances)


def get_requests(desk: Desk, call: Call) -> Answer:
    """Return what was asked for a customer beside orders."""
    return desk.read(call, reads.requests)


def reset_access(desk: Desk, call: Call) -> Answer:
    """Send the customer the way to a new password; only to the address on record."""
    return _ask(desk, call, "access_reset", field="channel", known=_CHANNELS)


def grant_offer(desk: Desk, call: Call) -> Answer:
    """Give the customer one of the shop's offers."""
    return _ask(desk, call, "offer", field="offer", known=people.OFFERS)


def hand_over(desk: Desk, call: Call) -> Answer:
    """Have a person take over the conversation with the customer."""
    return _ask(desk, call, "handover", field="summary", known=())


def _ask(
    desk: Desk, call: Call, kind: str, *, field: str, known: tuple[str, ...]
) -> Answer:
    """Take one text, which is one of the known ones unless any will do."""
    body = parse_object(call.body)
    fields = Fields(body)
    what = fields.text(field, chars_max=limits.SUMMARY_CHARS_MAX)
    if known and what not in known:
        fields.refuse(field, f"must be one of {', '.join(known)}")
    wish = people.Wish(kind=kind, what=what, reference=take_reference(fields))
    fields.end()
    return desk.once(
        call,
        body,
        lambda db, occasion: people.ask(db, occasion, call.object_id, wish=wish),
    )
