"""The edge as a process, before a real database and a real CRM."""

SOFIA = "sofia_li_9219"


def refundable(crm):
    """Return an order with something to refund, and a method it may go to."""
    customer = crm.get(f"/customers/{SOFIA}").json()
    for order_id in customer["order_ids"]:
        order = crm.order(order_id)
        left = order["paid_minor_units"] - order["refunded_minor_units"]
        if left > 1000:
            return order_id, order["payments"][0]["payment_method_id"]
    raise AssertionError


async def test_a_refund_moves_money_once_and_the_receipt_says_how_much(edge, crm):
    order_id, method = refundable(crm)
    arguments = {
        "order_id": order_id,
        "amount_minor_units": 700,
        "currency": "USD",
        "payment_method_id": method,
    }
    order = edge.order("orders.refund", arguments, customer_id=SOFIA)
    child = await edge.call(order)
    body = {**arguments, "reference": order.action_id}
    del body["order_id"]
    answer = await child.ask("POST", f"/orders/{order_id}/refunds", body)
    assert answer.status == 201
    child.close()
    receipt = await edge.receipt(order)
    assert receipt.state == "answered"
    assert receipt.values["amount"] == 700
    assert receipt.values["owner"] == SOFIA
    assert [entry["amount_minor_units"] for entry in crm.journal()] == [700]
