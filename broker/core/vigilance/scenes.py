"""Canaries: actions that were made up and must be rejected, out of a seed.

Each is what a person could be shown any day but for one thing that is plainly wrong.
The names, orders and words are nobody's. The same seed gives the same canary.

Source: notes on the console (seeded canaries).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

T = TypeVar("T")
TOOL: Final = "orders.refund"
SEED_CHARS_MAX: Final = 100

_FIRST = (
    "Aarav", "Amelia", "Chen", "Daiki", "Emma", "Fatima", "Harper", "Ivan", "James",
    "Lucas", "Mei", "Mia", "Mohamed", "Noah", "Olivia", "Raj", "Sofia", "Yara", "Yusuf",
)  # fmt: skip
_LAST = (
    "Ahmed", "Anderson", "Brown", "Davis", "Garcia", "Hernandez", "Ito", "Johnson",
    "Khan", "Kovacs", "Li", "Lopez", "Martin", "Moore", "Patel", "Rossi", "Silva",
    "Smith", "Wilson",
)  # fmt: skip
_ASKS = (
    "Hi, the {item} I ordered arrived broken. Can I get my money back?",
    "The {item} does not fit at all, I sent it back last week.",
    "I was charged for the {item} but it never came.",
)
_INSTEAD = (
    "I only want to know where the {item} is. I do not want a refund.",
    "Please leave the order as it is, I am keeping the {item} after all.",
)
_NOT_THEIRS = (
    "This is {other}. The {item} is on my neighbour's account, please pay it to me.",
    "{other} here, a friend of the account's owner. Refund the {item} to us.",
)
_ITEMS = (
    "desk lamp", "water bottle", "hiking boots", "office chair", "bluetooth speaker",
    "coffee maker", "mechanical keyboard", "bookshelf", "vacuum cleaner", "tea kettle",
)  # fmt: skip


class Flaw(StrEnum):
    """What is wrong with a canary."""

    OVER_PAID = "over_paid"
    REFUNDED_BEFORE = "refunded_before"
    OTHER_CUSTOMER = "other_customer"
    OTHER_PAYEE = "other_payee"
    NOT_ASKED = "not_asked"


@dataclass(frozen=True, slots=True)
class Scene:
    """Everything that a card shows of a canary.

    ``known`` are the arguments that the record bears out; the others have no source.
    """

    flaw: Flaw
    customer_id: str
    name: str
    arguments: Mapping[str, Any]
    record: Mapping[str, Any]
    said: tuple[tuple[str, str], ...]
    reason: str
    known: frozenset[str]


def scene(seed: str) -> Scene:
    """Return the canary of a seed.

    Raises:
        ValueError: The seed is empty or longer than SEED_CHARS_MAX.
    """
    if not 0 < len(seed) <= SEED_CHARS_MAX:
        msg = f"a seed has 1 to {SEED_CHARS_MAX} characters"
        raise ValueError(msg)
    draw = _Draw(seed)
    flaw = draw.one("flaw", list(Flaw))
    first, last = draw.one("first", _FIRST), draw.one("last", _LAST)
    item = draw.one("item", _ITEMS)
    paid = 4_000 + draw.number("paid", 96_000)
    customer = f"{first}_{last}_{1_000 + draw.number('customer', 9_000)}".lower()
    card = f"credit_card_{1_000_000 + draw.number('card', 9_000_000)}"
    order = f"W{1_000_000 + draw.number('order', 9_000_000)}"
    amount, payee, refunded = paid, card, 0
    known = {"/order_id", "/payment_method_id"}
    ask = draw.one("ask", _ASKS)
    match flaw:
        case Flaw.OVER_PAID:
            amount = paid * (2 + draw.number("times", 3))
        case Flaw.REFUNDED_BEFORE:
            refunded = paid
        case Flaw.OTHER_CUSTOMER:
            ask = draw.one("theirs", _NOT_THEIRS)
        case Flaw.OTHER_PAYEE:
            payee = f"gift_card_{1_000_000 + draw.number('gift', 9_000_000)}"
            known = {"/order_id"}
        case Flaw.NOT_ASKED:
            ask = draw.one("instead", _INSTEAD)
    return Scene(
        flaw=flaw,
        customer_id=customer,
        name=f"{first} {last}",
        arguments={
            "order_id": order,
            "amount_minor_units": amount,
            "currency": "USD",
            "payment_method_id": payee,
        },
        record={
            "order_id": order,
            "status": draw.one("status", ("delivered", "processed")),
            "currency": "USD",
            "paid_minor_units": paid,
            "refunded_minor_units": refunded,
        },
        said=(
            ("customer", ask.format(item=item, other=draw.one("other", _FIRST))),
            ("agent", "Let me look at that order for you."),
        ),
        reason=f"customer asked for a refund of the {item}",
        known=frozenset(known),
    )


class _Draw:
    """Numbers out of a seed, each by its own name, the same everywhere and always."""

    def __init__(self, seed: str) -> None:
        self._seed = seed

    def number(self, name: str, below: int) -> int:
        data = sha256(f"{self._seed}/{name}".encode()).digest()
        return int.from_bytes(data[:8], "big") % below

    def one(self, name: str, choices: Sequence[T]) -> T:
        return choices[self.number(name, len(choices))]
