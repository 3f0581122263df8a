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
    items = order.get("items")
    for item in items if isinstance(items, list) else ():
        if isinstance(item, dict) and isinstance(item.get("options"), dict):
            item["options"] = [
                {"option": option, "value": value}
                for option, value in item["options"].items()
            ]
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


def answers_send(call: Call) -> dict[str, object]:
    """Deliver a text to the customer."""
    body = {
        "channel": "chat",
        "text": call.arguments["text"],
        "reference": call.action,
    }
    customer = segment(call.customer)
    return accept(call.http.post(f"/customers/{customer}/replies", json=body), 201)
