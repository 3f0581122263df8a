"""Ground-truth calls of a retail shop, in the words of our tools.

A scripted agent needs no model: what it asks for is in the data. What our tools want
beside that, such as an amount, it reads first, as an agent does.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FILE = Path(__file__).with_name("retail_calls.jsonl.gz")
Read = Callable[[str], dict[str, Any]]
"""Returns what GET answers on a path of the CRM, empty if it answers no 200."""

_ADDRESS = ("address1", "address2", "city", "state", "country", "zip")


@dataclass(frozen=True)
class Step:
    """One call of the ground truth, and the same for one of our tools."""

    function: str
    tool: str
    arguments: dict[str, Any]
    changes: bool
    fails: bool
    result: Any
    customer: str
    """Whose order or record the function's result is about; empty if unknown."""


def conversations() -> dict[str, list[dict[str, Any]]]:
    """Return the calls of each conversation, by its id."""
    with gzip.open(FILE, "rt", encoding="utf-8") as file:
        lines = [json.loads(line) for line in file]
    return {line["id"]: line["calls"] for line in lines}


def step(call: dict[str, Any], read: Read) -> Step:
    """Turn one call into ours; ``read`` is asked for what it needs beside the data."""
    function, args, result = call["function"], dict(call["args"]), call["result"]
    tool, arguments = _TOOLS[function](args, read)
    owner = result.get("user_id", "") if isinstance(result, dict) else ""
    return Step(
        function=function,
        tool=tool,
        arguments=arguments,
        changes=call["db_changed"],
        fails=call["error"] is not None,
        result=result,
        customer=owner,
    )


def order_view(result: dict[str, Any]) -> dict[str, Any]:
    """Return an order of the ground truth as the CRM should have it.

    Prices and options of items are left out: where two were swapped, the ground truth
    has given both those of the second. Whoever compares looks them up by the item.
    """
    view: dict[str, Any] = {
        "status": result["status"],
        "address": result["address"],
        "items": [_item(item) for item in result["items"]],
        "payments": [
            {
                "kind": entry["transaction_type"],
                "amount_minor_units": cents(entry["amount"]),
                "payment_method_id": entry["payment_method_id"],
            }
            for entry in result["payment_history"]
            if cents(entry["amount"])
        ],
        "cancel_reason": result["cancel_reason"],
    }
    if result["return_items"]:
        view["return_items"] = sorted(result["return_items"])
        view["return_payment_method_id"] = result["return_payment_method_id"]
    if result["exchange_items"]:
        view["exchange_items"] = sorted(result["exchange_items"])
        view["exchange_new_items"] = sorted(result["exchange_new_items"])
        view["exchange_payment_method_id"] = result["exchange_payment_method_id"]
        view["exchange_price_difference_minor_units"] = cents(
            result["exchange_price_difference"]
        )
    return view


def seen_as(view: dict[str, Any], order: dict[str, Any]) -> dict[str, Any]:
    """Return of an order of the CRM what the view speaks of, in the view's order."""
    return {
        name: sorted(order[name]) if name in _LISTS else order[name]
        for name in view
        if name in order
    } | {"items": [_item(item) for item in order["items"]]}


def cents(dollars: float) -> int:
    """Return cents; the ground truth adds and subtracts floats of dollars."""
    return round(dollars * 100)


_LISTS = ("return_items", "exchange_items", "exchange_new_items")


def _item(item: dict[str, Any]) -> dict[str, Any]:
    return {name: item[name] for name in ("item_id", "product_id", "name")}


def _order_id(args: dict[str, Any]) -> str:
    return str(args["order_id"]).removeprefix("#")


def _find(args: dict[str, Any], _: Read) -> tuple[str, dict[str, Any]]:
    return "customers.verify", args


def _cancel(args: dict[str, Any], _: Read) -> tuple[str, dict[str, Any]]:
    return "orders.cancel", {"order_id": _order_id(args), "reason": args["reason"]}


def _address(args: dict[str, Any]) -> dict[str, Any]:
    return {name: args[name] for name in _ADDRESS if args[name]}


def _order_address(args: dict[str, Any], _: Read) -> tuple[str, dict[str, Any]]:
    return "orders.change_address", {"order_id": _order_id(args), **_address(args)}


def _own_address(args: dict[str, Any], _: Read) -> tuple[str, dict[str, Any]]:
    return "customers.change_address", _address(args)


def _payment(args: dict[str, Any], read: Read) -> tuple[str, dict[str, Any]]:
    order_id = _order_id(args)
    paid = read(f"/orders/{order_id}").get("paid_minor_units", 1)
    return "orders.change_payment", {
        "order_id": order_id,
        "payment_method_id": args["payment_method_id"],
        "amount_minor_units": paid,
        "currency": "USD",
    }


def _return(args: dict[str, Any], read: Read) -> tuple[str, dict[str, Any]]:
    order_id = _order_id(args)
    prices = _prices(read(f"/orders/{order_id}"))
    return "orders.return", {
        "order_id": order_id,
        "item_ids": args["item_ids"],
        "payment_method_id": args["payment_method_id"],
        "amount_minor_units": sum(prices.get(one, 0) for one in args["item_ids"]) or 1,
        "currency": "USD",
    }


def _swap(tool: str) -> Callable[[dict[str, Any], Read], tuple[str, dict[str, Any]]]:
    def swap(args: dict[str, Any], read: Read) -> tuple[str, dict[str, Any]]:
        order_id = _order_id(args)
        prices = _prices(read(f"/orders/{order_id}"))
        new = [read(f"/items/{one}") for one in args["new_item_ids"]]
        difference = sum(one.get("price_minor_units", 0) for one in new)
        difference -= sum(prices.get(one, 0) for one in args["item_ids"])
        return tool, {
            "order_id": order_id,
            "item_ids": args["item_ids"],
            "new_item_ids": args["new_item_ids"],
            "payment_method_id": args["payment_method_id"],
            "direction": "charge" if difference > 0 else "refund",
            "amount_minor_units": abs(difference) or 1,
            "currency": "USD",
        }

    return swap


def _prices(order: dict[str, Any]) -> dict[str, int]:
    items = order.get("items", [])
    return {item["item_id"]: item["price_minor_units"] for item in items}


def _same(
    tool: str, *names: str
) -> Callable[[dict[str, Any], Read], tuple[str, dict[str, Any]]]:
    return lambda args, _: (tool, {name: args[name] for name in names})


_TOOLS: dict[str, Callable[[dict[str, Any], Read], tuple[str, dict[str, Any]]]] = {
    "find_user_id_by_email": _find,
    "find_user_id_by_name_zip": _find,
    "get_user_details": _same("customers.get"),
    "get_order_details": lambda args, _: ("orders.get", {"order_id": _order_id(args)}),
    "get_product_details": _same("products.get", "product_id"),
    "get_item_details": _same("items.get", "item_id"),
    "list_all_product_types": _same("products.list"),
    "calculate": _same("sums.calculate", "expression"),
    "transfer_to_human_agents": _same("customers.hand_over", "summary"),
    "cancel_pending_order": _cancel,
    "modify_pending_order_address": _order_address,
    "modify_pending_order_payment": _payment,
    "modify_pending_order_items": _swap("orders.change_items"),
    "return_delivered_order_items": _return,
    "exchange_delivered_order_items": _swap("orders.exchange"),
    "modify_user_address": _own_address,
}
