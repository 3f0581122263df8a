"""Refunds and cancellations over HTTP: what is allowed, refused and reported."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from infra.democrm.books import changes
from infra.democrm.books.store import Store
from infra.democrm.limits import (
    AMOUNT_MINOR_UNITS_MAX,
    ENTRIES_PER_OBJECT_MAX,
)
from tests.democrm import orders
from tests.democrm.at import OCCASION
from tests.support.crm import Crm

CANCEL = {"reason": "no longer needed", "reference": "c-1"}


def test_a_refund_is_accepted_and_shows_on_the_order(crm: Crm) -> None:
    response = crm.refund(
        orders.PROCESSED, 5000, orders.PROCESSED_METHOD, reference="a-1"
    )
    assert response.status_code == 201
    body = response.json()
    refund_id = body.pop("refund_id")
    assert body == {
        "order_id": orders.PROCESSED,
        "customer_id": orders.PROCESSED_CUSTOMER,
        "amount_minor_units": 5000,
        "currency": "USD",
        "payment_method_id": orders.PROCESSED_METHOD,
        "status": "accepted",
        "paid_minor_units": 53665,
        "refunded_minor_units": 5000,
        "reference": "a-1",
    }
    order = crm.order(orders.PROCESSED)
    assert order["refunded_minor_units"] == 5000
    assert order["payments"][1] == {
        "kind": "refund",
        "amount_minor_units": 5000,
        "payment_method_id": orders.PROCESSED_METHOD,
    }
    (refund,) = crm.get(f"/orders/{orders.PROCESSED}/refunds").json()["refunds"]
    assert refund.pop("created_at").endswith("Z")
    body.pop("paid_minor_units")
    body.pop("refunded_minor_units")
    assert refund == {"refund_id": refund_id, **body}


def test_refunds_end_exactly_at_what_was_paid(crm: Crm) -> None:
    method = orders.PROCESSED_METHOD
    rest = orders.PROCESSED_PAID - 1
    assert crm.refund(orders.PROCESSED, rest, method).status_code == 201
    refused = crm.refund(orders.PROCESSED, 2, method)
    assert (refused.status_code, refused.json()) == (409, {"error": "exceeds_paid"})
    assert crm.refund(orders.PROCESSED, 1, method).status_code == 201
    assert crm.refund(orders.PROCESSED, 1, method).status_code == 409
    assert len(crm.journal()) == 2


def test_a_careless_upstream_pays_more_than_it_got(crm: Crm) -> None:
    crm.switch(refuse_over_refund=False)
    too_much = orders.PROCESSED_PAID + 1
    response = crm.refund(orders.PROCESSED, too_much, orders.PROCESSED_METHOD)
    assert response.status_code == 201
    assert response.json()["refunded_minor_units"] == too_much


def test_what_was_refunded_before_the_data_were_taken_counts(crm: Crm) -> None:
    refunds = crm.get(f"/orders/{orders.CANCELLED}/refunds").json()["refunds"]
    assert [refund["amount_minor_units"] for refund in refunds] == [
        orders.CANCELLED_PAID
    ]
    response = crm.refund(orders.CANCELLED, 1, orders.CANCELLED_METHOD)
    assert response.json() == {"error": "exceeds_paid"}


def test_a_refund_may_go_to_a_gift_card_but_not_to_another_method(crm: Crm) -> None:
    original = crm.refund(orders.PENDING, 1, orders.PENDING_METHOD)
    gift_card = crm.refund(orders.PENDING, 1, orders.PENDING_GIFT_CARD)
    other = crm.refund(orders.PENDING, 1, orders.PENDING_OTHER_METHOD)
    assert [original.status_code, gift_card.status_code] == [201, 201]
    assert other.status_code == 422
    assert other.json() == {
        "error": "payment_method_not_allowed",
        "field": "/payment_method_id",
    }
    crm.switch(refuse_other_payment_method=False)
    allowed = crm.refund(orders.PENDING, 1, orders.PENDING_OTHER_METHOD)
    assert allowed.status_code == 201


def test_a_refund_never_goes_to_somebody_else(crm: Crm) -> None:
    crm.switch(refuse_other_payment_method=False)
    for method in (orders.PROCESSED_METHOD, "gift_card_0000000"):
        response = crm.refund(orders.PENDING, 1, method)
        assert response.status_code == 422
        assert response.json()["error"] == "unknown_payment_method"
    assert crm.journal() == []


@pytest.mark.parametrize(
    "amount",
    [0, -1, 1.0, 0.5, "100", True, None, [100], AMOUNT_MINOR_UNITS_MAX + 1, 10**400],
)
def test_an_amount_that_is_no_whole_positive_number_of_cents_is_422(
    crm: Crm, amount: object
) -> None:
    response = crm.refund(orders.PROCESSED, amount, orders.PROCESSED_METHOD)
    assert response.status_code == 422
    assert response.json()["field"] == "/amount_minor_units"
    assert crm.journal() == []


@pytest.mark.parametrize("currency", ["EUR", "usd", "", None, 840])
def test_another_currency_is_422(crm: Crm, currency: object) -> None:
    body = {
        "amount_minor_units": 1,
        "currency": currency,
        "payment_method_id": orders.PROCESSED_METHOD,
        "reference": "r",
    }
    response = crm.post(f"/orders/{orders.PROCESSED}/refunds", body)
    assert response.status_code == 422
    assert response.json()["field"] == "/currency"


def test_a_refund_on_an_unknown_order_is_404(crm: Crm) -> None:
    assert crm.refund("W0000000", 1, orders.PROCESSED_METHOD).status_code == 404


def test_refunds_stop_where_sums_would_no_longer_be_exact(crm: Crm) -> None:
    crm.switch(refuse_over_refund=False)
    order, method = orders.PROCESSED, orders.PROCESSED_METHOD
    assert crm.refund(order, AMOUNT_MINOR_UNITS_MAX, method).status_code == 201
    past = crm.refund(order, 1, method)
    assert (past.status_code, past.json()) == (409, {"error": "limit_reached"})


def test_an_order_takes_only_so_many_refunds(books: Store) -> None:
    books.connection.execute(
        "WITH RECURSIVE n(i) AS (SELECT 2 UNION ALL SELECT i + 1 FROM n WHERE i < ?)"
        " INSERT INTO payments (order_id, kind, amount_minor_units, payment_method_id,"
        " refund_id) SELECT ?, 'refund', 1, ?, 'filler_' || i FROM n",
        (ENTRIES_PER_OBJECT_MAX, orders.PROCESSED, orders.PROCESSED_METHOD),
    )

    def refund() -> int:
        return changes.refund(
            books.connection,
            OCCASION,
            orders.PROCESSED,
            wish=changes.RefundWish(1, orders.PROCESSED_METHOD, "r"),
            rules=changes.RefundRules(),
        ).status

    assert [refund(), refund()] == [201, 409]


def test_cancelling_a_pending_order_pays_back_what_is_left(crm: Crm) -> None:
    crm.refund(orders.PENDING, 2_53, orders.PENDING_GIFT_CARD)
    response = crm.post(f"/orders/{orders.PENDING}/cancel", CANCEL)
    assert response.status_code == 200
    assert response.json() == {
        "order_id": orders.PENDING,
        "customer_id": orders.PENDING_CUSTOMER,
        "status": "cancelled",
        "reason": "no longer needed",
        "reference": "c-1",
        "amount_minor_units": 2490_00,
        "currency": "USD",
        "paid_minor_units": orders.PENDING_PAID,
        "refunded_minor_units": orders.PENDING_PAID,
    }
    order = crm.order(orders.PENDING)
    assert (order["status"], order["cancel_reason"]) == (
        "cancelled",
        "no longer needed",
    )
    assert order["payments"][-1] == {
        "kind": "refund",
        "amount_minor_units": 2490_00,
        "payment_method_id": orders.PENDING_METHOD,
    }
    assert crm.refund(orders.PENDING, 1, orders.PENDING_METHOD).status_code == 409


def test_cancelling_a_fully_refunded_order_moves_no_money(crm: Crm) -> None:
    crm.refund(orders.PENDING, orders.PENDING_PAID, orders.PENDING_METHOD)
    response = crm.post(f"/orders/{orders.PENDING}/cancel", CANCEL)
    assert response.json()["amount_minor_units"] == 0
    assert len(crm.order(orders.PENDING)["payments"]) == 2


def test_cancelling_an_over_refunded_order_takes_nothing_back(crm: Crm) -> None:
    crm.switch(refuse_over_refund=False)
    crm.refund(orders.PENDING, orders.PENDING_PAID + 5, orders.PENDING_METHOD)
    body = crm.post(f"/orders/{orders.PENDING}/cancel", CANCEL).json()
    assert body["amount_minor_units"] == 0
    assert body["refunded_minor_units"] == orders.PENDING_PAID + 5


@pytest.mark.parametrize("order_id", [orders.PROCESSED, orders.CANCELLED])
def test_only_a_pending_order_is_cancelled(crm: Crm, order_id: str) -> None:
    before = crm.state()
    response = crm.post(f"/orders/{order_id}/cancel", CANCEL)
    assert response.status_code == 409
    assert response.json()["error"] == "not_pending"
    assert crm.state() == before


def test_an_order_is_cancelled_once(crm: Crm) -> None:
    path = f"/orders/{orders.PENDING}/cancel"
    statuses = [crm.post(path, CANCEL).status_code for _ in range(2)]
    assert statuses == [200, 409]
    assert crm.post("/orders/W0000000/cancel", CANCEL).status_code == 404


def test_refunds_at_the_same_time_never_exceed_what_was_paid(crm: Crm) -> None:
    amounts = [1 + (position * 7919) % 60_00 for position in range(120)]

    def refund(amount: int) -> int:
        response = crm.refund(orders.PROCESSED, amount, orders.PROCESSED_METHOD)
        assert response.status_code in (201, 409)
        return amount if response.status_code == 201 else 0

    with ThreadPoolExecutor(max_workers=16) as pool:
        accepted = [amount for amount in pool.map(refund, amounts) if amount]
    assert sum(amounts) > orders.PROCESSED_PAID
    assert sum(accepted) <= orders.PROCESSED_PAID
    order = crm.order(orders.PROCESSED)
    assert order["refunded_minor_units"] == sum(accepted)
    journal = [entry["amount_minor_units"] for entry in crm.journal()]
    assert sorted(journal) == sorted(accepted)


def test_a_refund_is_taken_back_whole_and_once(crm: Crm) -> None:
    made = crm.refund(orders.PROCESSED, 5000, orders.PROCESSED_METHOD).json()
    path = f"/orders/{orders.PROCESSED}/reversals"
    body = {
        "refund_id": made["refund_id"],
        "amount_minor_units": 5000,
        "currency": "USD",
        "reference": "u-1",
    }
    for wrong, status in (
        ({"refund_id": "refund_99999999"}, 404),
        ({"amount_minor_units": 4999}, 409),
        ({"amount_minor_units": 0}, 422),
        ({"currency": "EUR"}, 422),
        ({"more": 1}, 422),
    ):
        assert crm.post(path, body | wrong).status_code == status, wrong
    other = f"/orders/{orders.PENDING}/reversals"
    assert crm.post(other, body).status_code == 404
    answer = crm.post(path, body)
    assert answer.status_code == 201
    assert answer.json() == {
        "order_id": orders.PROCESSED,
        "refund_id": made["refund_id"],
        "customer_id": orders.PROCESSED_CUSTOMER,
        "amount_minor_units": 5000,
        "currency": "USD",
        "status": "reversed",
        "paid_minor_units": orders.PROCESSED_PAID + 5000,
        "refunded_minor_units": 5000,
        "reference": "u-1",
    }
    again = crm.post(path, body)
    assert (again.status_code, again.json()) == (409, {"error": "reversed_before"})
    assert [one["kind"] for one in crm.journal()] == ["refund", "reversal"]
