"""Speak to the shop's CRM: each function is one tool and sends one request.

What a manifest does not release never reaches an agent, whatever is returned here; the
functions still return little, so that little can leak.
"""

from tools.sdk import Call, accept, segment


def customers_verify(call: Call) -> dict[str, object]:
    """Compare details that the customer gave; say only whether they match."""
    response = call.http.post("/customers/find", json=dict(call.arguments))
    if response.status == 404:  # noqa: PLR2004 the CRM's definite "no match"
        return {"matched": False}
    return {"matched": accept(response, 200).get("matched") is True}


def customers_get(call: Call) -> dict[str, object]:
    """Read the interaction's customer, without the address."""
    customer = accept(call.http.get(f"/customers/{segment(call.customer)}"), 200)
    customer.pop("address", None)
    return customer


def orders_get(call: Call) -> dict[str, object]:
    """Read an order; an item's options become a list, which a manifest can name."""
    order_id = segment(call.arguments["order_id"])
    order = accept(call.http.get(f"/orders/{order_id}"), 200)
    _list_options(order.get("items"))
    return order


def orders_cancel(call: Call) -> dict[str, object]:
    """Cancel a pending order."""
    order_id = segment(call.arguments["order_id"])
    body = {"reason": call.arguments["reason"], "reference": call.action}
    return accept(call.http.post(f"/orders/{order_id}/cancel", json=body), 200)


def orders_refund(call: Call) -> dict[str, object]:
    """Refund an amount on an order."""
    order_id = segment(call.arguments["order_id"])
    body = {
        "amount_minor_units": call.arguments["amount_minor_units"],
        "currency": call.arguments["currency"],
        "payment_method_id": call.arguments["payment_method_id"],
        "reference": call.action,
    }
    return accept(call.http.post(f"/orders/{order_id}/refunds", json=body), 201)


def orders_refunds(call: Call) -> dict[str, object]:
    """Read an order's refunds; what they say stands in the edge's receipt alone."""
    order_id = segment(call.arguments["order_id"])
    accept(call.http.get(f"/orders/{order_id}/refunds"), 200)
    return {}


def orders_refund_reverse(call: Call) -> dict[str, object]:
    """Take a refund back."""
    order_id = segment(call.arguments["order_id"])
    body = {
        "refund_id": call.arguments["refund_id"],
        "amount_minor_units": call.arguments["amount_minor_units"],
        "currency": call.arguments["currency"],
        "reference": call.action,
    }
    return accept(call.http.post(f"/orders/{order_id}/reversals", json=body), 201)


def answers_send(call: Call) -> dict[str, object]:
    """Deliver a text to the customer."""
    body = {
        "channel": "chat",
        "text": call.arguments["text"],
        "reference": call.action,
    }
    customer = segment(call.customer)
    return accept(call.http.post(f"/customers/{customer}/replies", json=body), 201)


def products_list(call: Call) -> dict[str, object]:
    """List the products by name."""
    return accept(call.http.get("/products"), 200)


def products_get(call: Call) -> dict[str, object]:
    """Read a product with its variants."""
    product_id = segment(call.arguments["product_id"])
    product = accept(call.http.get(f"/products/{product_id}"), 200)
    _list_options(product.get("variants"))
    return product


def items_get(call: Call) -> dict[str, object]:
    """Read one variant of a product."""
    item = accept(call.http.get(f"/items/{segment(call.arguments['item_id'])}"), 200)
    _list_options([item])
    return item


def sums_calculate(call: Call) -> dict[str, object]:
    """Work out a sum."""
    body = {"expression": call.arguments["expression"]}
    return accept(call.http.post("/calculate", json=body), 200)


def customers_balances(call: Call) -> dict[str, object]:
    """Read what is on the customer's gift cards."""
    path = f"/customers/{segment(call.customer)}/balances"
    return accept(call.http.get(path), 200)


def customers_change_address(call: Call) -> dict[str, object]:
    """Change the address on the customer's record."""
    return _of_customer(call, "address", status=200)


def customers_hand_over(call: Call) -> dict[str, object]:
    """Have a person take over."""
    return _of_customer(call, "handovers", status=201)


def access_reset(call: Call) -> dict[str, object]:
    """Send the customer the way to a new password."""
    return _of_customer(call, "access-resets", status=201)


def offers_grant(call: Call) -> dict[str, object]:
    """Give the customer an offer."""
    return _of_customer(call, "offers", status=201)


def orders_change_address(call: Call) -> dict[str, object]:
    """Send a pending order elsewhere."""
    return _of_order(call, "address", _wanted(call))


def orders_change_items(call: Call) -> dict[str, object]:
    """Change items of a pending order."""
    return _of_order(call, "items", _swap(call))


def orders_exchange(call: Call) -> dict[str, object]:
    """Exchange items of a delivered order."""
    return _of_order(call, "exchange", _swap(call))


def orders_change_payment(call: Call) -> dict[str, object]:
    """Pay a pending order another way."""
    return _of_order(call, "payment", _wanted(call))


def orders_return(call: Call) -> dict[str, object]:
    """Return items of a delivered order."""
    return _of_order(call, "return", _wanted(call))


def _wanted(call: Call) -> dict[str, object]:
    """Return the arguments as a body, without the order that stands in the path."""
    body = {**call.arguments, "reference": call.action}
    body.pop("order_id", None)
    return body


def _swap(call: Call) -> dict[str, object]:
    body = _wanted(call)
    body["amount_minor_units_max"] = body.pop("amount_minor_units")
    return body


def _of_order(call: Call, what: str, body: dict[str, object]) -> dict[str, object]:
    path = f"/orders/{segment(call.arguments['order_id'])}/{what}"
    return accept(call.http.post(path, json=body), 200)


def _of_customer(call: Call, what: str, *, status: int) -> dict[str, object]:
    path = f"/customers/{segment(call.customer)}/{what}"
    return accept(call.http.post(path, json=_wanted(call)), status)


def _list_options(found: object) -> None:
    """Turn options into lists: a manifest can name elements, not unknown names."""
    for item in found if isinstance(found, list) else ():
        if isinstance(item, dict) and isinstance(item.get("options"), dict):
            item["options"] = [
                {"option": option, "value": value}
                for option, value in item["options"].items()
            ]
