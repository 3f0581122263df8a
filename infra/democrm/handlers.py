"""Turn calls into operations on the store, one function per endpoint."""

import re
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from infra.democrm import limits
from infra.democrm.arithmetic import ArithmeticRefusedError, evaluate
from infra.democrm.books import changes, reads, replays
from infra.democrm.books.store import Store
from infra.democrm.faults import Mischief
from infra.democrm.wire import Fields, RequestError, invalid, parse_object
from infra.democrm.words import CURRENCY, Answer, Occasion, refusal

_CHANNEL: Final = re.compile("[a-z][a-z0-9_-]*")
_SINCE: Final = re.compile("[0-9]{1,18}")


@dataclass(frozen=True, slots=True)
class Call:
    """A request whose body was read and whose caller is known."""

    method: str
    path: str
    object_id: str
    """From the path; empty where the path has none."""
    query: tuple[tuple[str, str], ...]
    body: bytes
    idempotency_key: str | None


@dataclass(frozen=True, slots=True)
class Desk:
    """What the handlers work with."""

    store: Store
    mischief: Mischief
    clock: Callable[[], datetime]

    def read(self, call: Call, find: Callable[..., Answer]) -> Answer:
        """Answer a GET about one object."""
        _refuse_query(call)
        return find(self.store.connection, call.object_id)

    def once(
        self, call: Call, fields: dict[str, object], run: replays.Operation
    ) -> Answer:
        """Answer a POST, once per idempotency key."""
        _refuse_query(call)
        return replays.once(
            self.store,
            Occasion(now=self.clock(), idempotency_key=call.idempotency_key),
            run,
            request=replays.fingerprint(
                method=call.method, path=call.path, body=fields
            ),
            ttl_s=self.mischief.switches.idempotency_ttl_s,
        )


def find_customer(desk: Desk, call: Call) -> Answer:
    """Find a customer by e-mail address, or by name and zip code."""
    body = parse_object(call.body)
    fields = Fields(body)
    if fields.has("email"):
        email = fields.text("email", chars_max=limits.EMAIL_CHARS_MAX)
        fields.end()
        return desk.once(call, body, lambda db, _: reads.find_by_email(db, email))
    first_name = fields.text("first_name", chars_max=limits.NAME_CHARS_MAX)
    last_name = fields.text("last_name", chars_max=limits.NAME_CHARS_MAX)
    zip_code = fields.text("zip", chars_max=limits.ZIP_CHARS_MAX)
    fields.end()

    def run(connection: sqlite3.Connection, _: Occasion) -> Answer:
        return reads.find_by_name(
            connection, first_name=first_name, last_name=last_name, zip_code=zip_code
        )

    return desk.once(call, body, run)


def get_customer(desk: Desk, call: Call) -> Answer:
    """Return a customer."""
    return desk.read(call, reads.customer)


def get_order(desk: Desk, call: Call) -> Answer:
    """Return an order."""
    return desk.read(call, reads.order)


def get_product(desk: Desk, call: Call) -> Answer:
    """Return a product."""
    return desk.read(call, reads.product)


def get_products(desk: Desk, call: Call) -> Answer:
    """Return all products by name."""
    return desk.read(call, reads.products)


def get_item(desk: Desk, call: Call) -> Answer:
    """Return one variant of a product."""
    return desk.read(call, reads.item)


def calculate(desk: Desk, call: Call) -> Answer:
    """Work out an expression."""
    body = parse_object(call.body)
    fields = Fields(body)
    expression = fields.text("expression", chars_max=limits.EXPRESSION_CHARS_MAX)
    fields.end()
    try:
        result = evaluate(expression)
    except ArithmeticRefusedError as error:
        invalid("/expression", str(error))
    return desk.once(call, body, lambda _, __: Answer(200, {"result": result}))


def get_refunds(desk: Desk, call: Call) -> Answer:
    """Return an order's refunds."""
    return desk.read(call, reads.refunds)


def get_replies(desk: Desk, call: Call) -> Answer:
    """Return what a customer was told."""
    return desk.read(call, reads.replies)


def cancel_order(desk: Desk, call: Call) -> Answer:
    """Cancel a pending order."""
    body = parse_object(call.body)
    fields = Fields(body)
    reason = fields.text("reason", chars_max=limits.REASON_CHARS_MAX)
    reference = fields.text("reference", chars_max=limits.REFERENCE_CHARS_MAX)
    fields.end()

    def run(connection: sqlite3.Connection, occasion: Occasion) -> Answer:
        return changes.cancel(
            connection, occasion, call.object_id, reason=reason, reference=reference
        )

    return desk.once(call, body, run)


def refund_order(desk: Desk, call: Call) -> Answer:
    """Refund an amount on an order."""
    body = parse_object(call.body)
    fields = Fields(body)
    amount = fields.amount("amount_minor_units")
    if fields.text("currency", chars_max=limits.ID_CHARS_MAX) != CURRENCY:
        fields.refuse("currency", f"must be {CURRENCY}")
    wish = changes.RefundWish(
        amount_minor_units=amount,
        payment_method_id=fields.text(
            "payment_method_id", chars_max=limits.ID_CHARS_MAX
        ),
        reference=fields.text("reference", chars_max=limits.REFERENCE_CHARS_MAX),
    )
    fields.end()

    def run(connection: sqlite3.Connection, occasion: Occasion) -> Answer:
        rules = desk.mischief.switches.rules
        return changes.refund(
            connection, occasion, call.object_id, wish=wish, rules=rules
        )

    return desk.once(call, body, run)


def note_order(desk: Desk, call: Call) -> Answer:
    """Write a note on an order."""
    body = parse_object(call.body)
    fields = Fields(body)
    author = fields.text("author", chars_max=limits.AUTHOR_CHARS_MAX)
    text = fields.text("text", chars_max=limits.NOTE_CHARS_MAX)
    fields.end()

    def run(connection: sqlite3.Connection, occasion: Occasion) -> Answer:
        return changes.note(
            connection, occasion, call.object_id, author=author, text=text
        )

    return desk.once(call, body, run)


def reply_customer(desk: Desk, call: Call) -> Answer:
    """Tell a customer something."""
    body = parse_object(call.body)
    fields = Fields(body)
    channel = fields.text("channel", chars_max=limits.CHANNEL_CHARS_MAX)
    if not _CHANNEL.fullmatch(channel):
        fields.refuse("channel", "must be a lower-case word, like chat")
    what = changes.Reply(
        channel=channel,
        text=fields.text("text", chars_max=limits.REPLY_CHARS_MAX),
        reference=fields.text("reference", chars_max=limits.REFERENCE_CHARS_MAX),
    )
    fields.end()

    def run(connection: sqlite3.Connection, occasion: Occasion) -> Answer:
        return changes.reply(connection, occasion, call.object_id, what=what)

    return desk.once(call, body, run)


def get_health(desk: Desk, call: Call) -> Answer:
    """Say that the process answers."""
    del desk, call
    return Answer(200, {"status": "ok"})


def get_state(desk: Desk, call: Call) -> Answer:
    """Return the digest of the state."""
    del call
    return reads.state(desk.store.connection)


def get_journal(desk: Desk, call: Call) -> Answer:
    """Return the changes after ``since``, which defaults to 0."""
    query = dict(call.query)
    since = query.pop("since", "0")
    if query or not _SINCE.fullmatch(since):
        raise RequestError(refusal(422, "invalid", field="since"))
    return Answer(200, reads.journal(desk.store.connection, int(since)))


def reset(desk: Desk, call: Call) -> Answer:
    """Return to the data as loaded, no fault, and the switches of the start."""
    del call
    desk.store.reset()
    desk.mischief.clear()
    return reads.state(desk.store.connection)


def get_faults(desk: Desk, call: Call) -> Answer:
    """Return the faults and switches in force."""
    del call
    return Answer(200, desk.mischief.view())


def put_faults(desk: Desk, call: Call) -> Answer:
    """Set faults, switches, or both."""
    desk.mischief.put(parse_object(call.body))
    return Answer(200, desk.mischief.view())


def _refuse_query(call: Call) -> None:
    # A parameter that is silently ignored is a filter that silently does not filter.
    if call.query:
        invalid("", "takes no query parameters")
