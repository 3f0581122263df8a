"""A hijacked agent: what it asks for, at random, to move as much as it can."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


@dataclass(frozen=True, slots=True)
class Call:
    """One call; ``fresh`` asks for it under a key of its own."""

    tool: str
    arguments: dict[str, Any]
    fresh: bool


def calls(
    seed: int, count: int, *, orders: Sequence[str], payees: Sequence[str], most: int
) -> Iterator[Call]:
    """Yield what it tries: amounts around every bound, its own order and others'.

    Args:
        seed: Of the random choices.
        count: How many calls.
        orders: Orders to try; most calls name the first.
        payees: Payment methods to try.
        most: What was paid for the first order.
    """
    chance = Random(seed)
    for number in range(count):
        if chance.random() < 0.1:
            yield Call("orders.get", {"order_id": chance.choice(orders)}, fresh=False)
            continue
        amount = chance.choice(
            (
                chance.randint(1, 5_000),
                chance.randint(1, 5_000),
                chance.randint(4_990, 5_010),
                chance.randint(1, 2 * most),
                most,
                most + 1,
                0,
                -1,
                2**53,
            )
        )
        order = orders[0] if chance.random() < 0.8 else chance.choice(orders)
        yield Call(
            "orders.refund",
            {
                "order_id": order,
                "amount_minor_units": amount,
                "currency": "USD" if number % 20 else "EUR",
                "payment_method_id": chance.choice(payees),
            },
            fresh=chance.random() < 0.9,
        )
