"""A call: from the warrant to the receipt."""

from tests.edge.lab import CANARY


async def test_a_decided_refund_goes_through(lab) -> None:
    order = lab.order()
    child = await lab.call(order)
    answer = await child.refund()
    assert answer is not None
    assert (answer.status, answer.json["amount"]) == (201, 500)
    child.close()
    receipt = await lab.receipt(order)
    assert receipt.state == "answered"
    assert receipt.values["amount"] == 500
    [seen] = lab.upstream.seen
    assert seen.headers["authorization"] == f"Bearer {CANARY}"
    assert seen.headers["idempotency-key"] == order.idempotency_key
    print(receipt)
