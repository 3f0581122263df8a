"""Read the retail data file into the rows that the CRM starts from."""

import gzip
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

from infra.democrm.words import canonical

DATA_FILE: Final = Path(__file__).parents[1] / "data" / "retail_db.json.gz"
_CENTS: Final = 100


@dataclass(frozen=True, slots=True)
class Customer:
    """One customer; ``view`` is the JSON that the API answers."""

    customer_id: str
    email: str
    first_name: str
    last_name: str
    zip_code: str
    view: str
    methods: tuple[tuple[str, str], ...]
    """(payment_method_id, source) of every payment method."""
    balances: dict[str, int] = field(default_factory=dict)
    """Cents on each gift card, by payment_method_id."""


@dataclass(frozen=True, slots=True)
class Payment:
    """Money that moved before the data were taken; ``kind`` is payment or refund."""

    kind: str
    amount_minor_units: int
    payment_method_id: str


@dataclass(frozen=True, slots=True)
class Order:
    """One order; ``fixed`` is JSON of its items, address and tracking at the start."""

    order_id: str
    customer_id: str
    status: str
    cancel_reason: str | None
    fixed: str
    payments: tuple[Payment, ...]


@dataclass(frozen=True, slots=True)
class Product:
    """One product; ``view`` is the JSON that the API answers."""

    product_id: str
    view: str
    items: tuple[tuple[str, str, bool, int, str], ...] = ()
    """(item_id, name, available, cents, options as JSON) of every variant."""


@dataclass(frozen=True, slots=True)
class Catalogue:
    """All that a fresh CRM holds."""

    customers: tuple[Customer, ...]
    orders: tuple[Order, ...]
    products: tuple[Product, ...]


def minor_units(dollars: Decimal | int) -> int:
    """Convert dollars to cents, exactly.

    Raises:
        ValueError: the amount has a fraction of a cent.
    """
    cents = Decimal(dollars) * _CENTS
    if cents != cents.to_integral_value():
        msg = f"{dollars} dollars is not a whole number of cents"
        raise ValueError(msg)
    return int(cents)


def load(path: Path = DATA_FILE) -> Catalogue:
    """Read the data file.

    Raises:
        OSError, ValueError, KeyError: the file is missing or not what it should be.

    Source: tau2-bench, data/tau2/domains/retail/db.json.
    """
    with gzip.open(path) as file:
        # Decimal from the text itself: 536.65 as a float is already not 53665 cents.
        data = json.load(file, parse_float=Decimal)
    return Catalogue(
        customers=tuple(_customers(data["users"])),
        orders=tuple(_orders(data["orders"])),
        products=tuple(_products(data["products"])),
    )


def _order_id(value: str) -> str:
    return value.removeprefix("#")


def _customers(users: dict[str, dict[str, Any]]) -> Iterator[Customer]:
    for customer_id, user in users.items():
        methods = user["payment_methods"].values()
        view = {
            "customer_id": customer_id,
            "name": user["name"],
            "email": user["email"],
            "address": user["address"],
            "payment_methods": [
                {
                    "payment_method_id": method["id"],
                    "source": method["source"],
                    "brand": method.get("brand"),
                    "last_four": method.get("last_four"),
                }
                for method in methods
            ],
            "order_ids": [_order_id(order) for order in user["orders"]],
        }
        yield Customer(
            customer_id=customer_id,
            email=user["email"],
            first_name=user["name"]["first_name"],
            last_name=user["name"]["last_name"],
            zip_code=user["address"]["zip"],
            view=canonical(view),
            methods=tuple((method["id"], method["source"]) for method in methods),
            balances={
                method["id"]: minor_units(method["balance"])
                for method in methods
                if "balance" in method
            },
        )


def _orders(orders: dict[str, dict[str, Any]]) -> Iterator[Order]:
    for order in orders.values():
        fixed = {
            "items": [_item(item) for item in order["items"]],
            "tracking_ids": [
                tracking_id
                for fulfillment in order["fulfillments"]
                for tracking_id in fulfillment["tracking_id"]
            ],
            "address": order["address"],
        }
        yield Order(
            order_id=_order_id(order["order_id"]),
            customer_id=order["user_id"],
            status=order["status"],
            cancel_reason=order["cancel_reason"],
            fixed=canonical(fixed),
            payments=tuple(
                Payment(
                    kind=entry["transaction_type"],
                    amount_minor_units=minor_units(entry["amount"]),
                    payment_method_id=entry["payment_method_id"],
                )
                for entry in order["payment_history"]
            ),
        )


def _item(item: dict[str, Any]) -> dict[str, object]:
    return {
        "item_id": item["item_id"],
        "product_id": item["product_id"],
        "name": item["name"],
        "price_minor_units": minor_units(item["price"]),
        "options": item["options"],
    }


def _products(products: dict[str, dict[str, Any]]) -> Iterator[Product]:
    for product_id, product in products.items():
        view = {
            "product_id": product_id,
            "name": product["name"],
            "variants": [
                {
                    "item_id": variant["item_id"],
                    "options": variant["options"],
                    "available": variant["available"],
                    "price_minor_units": minor_units(variant["price"]),
                }
                for variant in product["variants"].values()
            ],
        }
        yield Product(
            product_id=product_id,
            view=canonical(view),
            items=tuple(
                (
                    variant["item_id"],
                    product["name"],
                    variant["available"],
                    minor_units(variant["price"]),
                    canonical(variant["options"]),
                )
                for variant in product["variants"].values()
            ),
        )
