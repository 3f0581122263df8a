"""Whom the runs are about: customers of the reference CRM with an order worth a lot."""

from __future__ import annotations

import gzip
import json
from dataclasses import dataclass
from pathlib import Path

from tests.support.chaos.schedule import CUSTOMERS

_DATA = Path(__file__).parents[3] / "infra" / "democrm" / "data" / "retail_db.json.gz"
_WORTH_MIN = 750.0


@dataclass(frozen=True, slots=True)
class Buyer:
    """A customer, an order of theirs, how it was paid, and with how much."""

    customer: str
    order: str
    payment_method: str
    paid_minor_units: int


def buyers() -> tuple[Buyer, ...]:
    """Return as many customers as the schedule speaks of, always the same."""
    orders = json.loads(gzip.decompress(_DATA.read_bytes()))["orders"]
    chosen: dict[str, Buyer] = {}
    for order_id, order in sorted(orders.items()):
        payments = order["payment_history"]
        if len(payments) != 1 or payments[0]["amount"] < _WORTH_MIN:
            continue
        chosen.setdefault(
            order["user_id"],
            Buyer(
                customer=order["user_id"],
                order=order_id.removeprefix("#"),
                payment_method=payments[0]["payment_method_id"],
                paid_minor_units=round(payments[0]["amount"] * 100),
            ),
        )
    found = tuple(chosen[name] for name in sorted(chosen))[:CUSTOMERS]
    assert len(found) == CUSTOMERS
    return found
