"""Orders that change, come back or are exchanged: what the shop's policy refuses."""

from __future__ import annotations

from typing import Any

import pytest

from infra.democrm.books.people import OFFERS
from infra.democrm.limits import (
    ADDRESS_CHARS_MAX,
    EXPRESSION_CHARS_MAX,
    ITEMS_MAX,
    SUMMARY_CHARS_MAX,
)
from tests.democrm import orders
from tests.support.crm import Crm

DELIVERED = "W4316152"
OWNER = "aarav_anderson_8794"
GIFT_CARD = "gift_card_7245904"
TEA_POT = "7292993796"
DEAR_TEA_POT = "3761330360"
ELSEWHERE = {
    "address1": "1 New Road",
    "address2": "",
    "city": "Austin",
    "state": "TX",
    "country": "USA",
    "zip": "78712",
}


def money(**more: object) -> dict[str, Any]:
    return {"currency": "USD", "reference": "r", **more}


def swap(**more: object) -> dict[str, Any]:
    wanted = {
        "item_ids": [TEA_POT],
        "new_item_ids": [DEAR_TEA_POT],
        "payment_method_id": GIFT_CARD,
        "direction": "charge",
        "amount_minor_units_max": 100_000,
    }
    return money(**{**wanted, **more})


def back(**more: object) -> dict[str, Any]:
    wanted = {
        "item_ids": [TEA_POT],
        "payment_method_id": GIFT_CARD,
        "amount_minor_units": 9_480,
    }
    return money(**{**wanted, **more})


def refused(crm: Crm, path: str, body: object) -> tuple[int, str]:
    """Send what is to be refused, and see that nothing was changed by it."""
    before = crm.journal()  # every change has its entry
    answer = crm.post(path, body)
    assert crm.journal() == before
    return answer.status_code, answer.json()["error"]


def balance(crm: Crm, customer: str = OWNER) -> int:
    cards = crm.get(f"/customers/{customer}/balances").json()["gift_cards"]
    return int(cards[0]["balance_minor_units"])


def test_returned_items_are_refunded_at_their_price_and_the_order_says_so(crm):
    answer = crm.post(f"/orders/{DELIVERED}/return", back())
    assert answer.status_code == 200
    said = answer.json()
    assert (said["status"], said["amount_minor_units"]) == ("return requested", 9_480)
    assert said["customer_id"] == OWNER
    assert said["paid_minor_units"] == 18_960
    order = crm.order(DELIVERED)
    assert order["return_items"] == [TEA_POT]
    assert order["return_payment_method_id"] == GIFT_CARD
    again = refused(crm, f"/orders/{DELIVERED}/return", back())
    assert again == (409, "not_delivered")
    assert refused(crm, f"/orders/{DELIVERED}/exchange", swap())[0] == 409
    crm.reset()
    assert crm.order(DELIVERED)["status"] == "delivered"
    assert "return_items" not in crm.order(DELIVERED)


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({"amount_minor_units": 9_481}, (409, "amount_mismatch")),
        ({"item_ids": ["1008292230"]}, (422, "item_not_in_order")),
        ({"item_ids": [TEA_POT] * 3}, (422, "item_not_in_order")),
        ({"payment_method_id": "paypal_1"}, (422, "unknown_payment_method")),
        ({"item_ids": []}, (422, "invalid")),
        ({"item_ids": [TEA_POT] * (ITEMS_MAX + 1)}, (422, "invalid")),
        ({"item_ids": TEA_POT}, (422, "invalid")),
        ({"currency": "EUR"}, (422, "invalid")),
    ],
)
def test_a_return_is_of_the_orders_items_at_their_price(crm, more, expected):
    assert refused(crm, f"/orders/{DELIVERED}/return", back(**more)) == expected


def test_an_order_with_an_item_twice_gives_both_back(crm):
    body = back(item_ids=[TEA_POT] * 2, amount_minor_units=2 * 9_480)
    assert crm.post(f"/orders/{DELIVERED}/return", body).status_code == 200


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        (
            {
                "item_ids": [TEA_POT] * 2,
                "new_item_ids": [DEAR_TEA_POT, "9647374798"],
            },
            (409, "insufficient_balance"),
        ),
        ({"new_item_ids": ["9647374798"] * 2}, (422, "lengths_differ")),
        ({"new_item_ids": [TEA_POT]}, (422, "the_same_item")),
        ({"new_item_ids": ["9523456873"]}, (422, "not_the_same_product")),
        ({"new_item_ids": ["6700049080"]}, (422, "not_the_same_product")),
        ({"amount_minor_units_max": 1}, (409, "difference_not_covered")),
        ({"direction": "refund"}, (409, "difference_not_covered")),
        ({"direction": "both"}, (422, "invalid")),
        ({"payment_method_id": orders.PENDING_METHOD}, (422, "unknown_payment_method")),
    ],
)
def test_an_exchange_stays_within_the_product_and_what_was_agreed(crm, more, expected):
    assert refused(crm, f"/orders/{DELIVERED}/exchange", swap(**more)) == expected


def test_what_cannot_be_had_is_not_exchanged_for(crm):
    product = crm.order(DELIVERED)["items"]
    at = next(item for item in product if item["item_id"] == TEA_POT)["product_id"]
    gone = [
        one["item_id"]
        for one in crm.get(f"/products/{at}").json()["variants"]
        if not one["available"]
    ]
    assert gone
    body = swap(new_item_ids=gone[:1])
    assert refused(crm, f"/orders/{DELIVERED}/exchange", body) == (409, "not_available")


@pytest.mark.parametrize("what", ["address", "items", "payment"])
@pytest.mark.parametrize("order", [orders.PROCESSED, orders.CANCELLED, DELIVERED])
def test_only_a_pending_order_is_modified(crm, what, order):
    bodies = {
        "address": {**ELSEWHERE, "reference": "r"},
        "items": swap(),
        "payment": money(payment_method_id=GIFT_CARD, amount_minor_units=1),
    }
    answer = refused(crm, f"/orders/{order}/{what}", bodies[what])
    assert answer == (409, "not_pending")


def test_a_pending_order_goes_elsewhere_and_back_again_by_a_reset(crm):
    before = crm.state()
    path = f"/orders/{orders.PENDING}/address"
    answer = crm.post(path, {**ELSEWHERE, "reference": "r"})
    assert answer.json()["address"] == ELSEWHERE
    assert crm.order(orders.PENDING)["address"] == ELSEWHERE
    assert crm.state() != before
    crm.reset()
    assert crm.state() == before
    long = {**ELSEWHERE, "reference": "r", "city": "x" * (ADDRESS_CHARS_MAX + 1)}
    assert refused(crm, path, long) == (422, "invalid")
    fits = {**long, "city": "x" * ADDRESS_CHARS_MAX}
    assert crm.post(path, fits).status_code == 200


def test_another_way_to_pay_gives_the_first_one_back_once(crm):
    path = f"/orders/{orders.PENDING}/payment"
    wish = money(
        payment_method_id=orders.PENDING_OTHER_METHOD,
        amount_minor_units=orders.PENDING_PAID,
    )
    answer = crm.post(path, wish).json()
    assert answer["amount_minor_units"] == orders.PENDING_PAID
    assert (answer["paid_minor_units"], answer["refunded_minor_units"]) == (
        2 * orders.PENDING_PAID,
        orders.PENDING_PAID,
    )
    moved = [
        (one["kind"], one["payment_method_id"])
        for one in crm.order(orders.PENDING)["payments"]
    ]
    assert moved == [
        ("payment", orders.PENDING_METHOD),
        ("payment", orders.PENDING_OTHER_METHOD),
        ("refund", orders.PENDING_METHOD),
    ]
    assert refused(crm, path, wish) == (409, "already_changed")
    cancel = {"reason": "no longer needed", "reference": "c"}
    crm.post(f"/orders/{orders.PENDING}/cancel", cancel)
    last = crm.order(orders.PENDING)["payments"][-1]
    assert last["payment_method_id"] == orders.PENDING_OTHER_METHOD


@pytest.mark.parametrize(
    ("method", "amount", "expected"),
    [
        (orders.PENDING_METHOD, orders.PENDING_PAID, (422, "same_payment_method")),
        (orders.PENDING_OTHER_METHOD, 1, (409, "amount_mismatch")),
        (orders.PENDING_GIFT_CARD, orders.PENDING_PAID, (409, "insufficient_balance")),
        (GIFT_CARD, orders.PENDING_PAID, (422, "unknown_payment_method")),
    ],
)
def test_another_way_to_pay_is_the_customers_and_can_pay(crm, method, amount, expected):
    wish = money(payment_method_id=method, amount_minor_units=amount)
    assert refused(crm, f"/orders/{orders.PENDING}/payment", wish) == expected


def test_a_gift_card_has_what_was_refunded_to_it(crm):
    before = balance(crm, orders.PENDING_CUSTOMER)
    crm.refund(orders.PENDING, 1_000, orders.PENDING_GIFT_CARD)
    assert balance(crm, orders.PENDING_CUSTOMER) == before + 1_000
    crm.reset()
    assert balance(crm, orders.PENDING_CUSTOMER) == before


def test_a_customer_is_found_by_the_new_zip_code_and_no_longer_by_the_old(crm):
    crm.post(f"/customers/{OWNER}/address", {**ELSEWHERE, "reference": "r"})
    details = {"first_name": "Aarav", "last_name": "Anderson"}
    new = crm.post("/customers/find", {**details, "zip": "78712"})
    assert new.json()["customer_id"] == OWNER
    assert crm.post("/customers/find", {**details, "zip": "19031"}).status_code == 404
    crm.reset()
    assert crm.post("/customers/find", {**details, "zip": "19031"}).status_code == 200


def test_access_is_reset_to_the_address_on_record_which_is_not_shown_whole(crm):
    path = f"/customers/{OWNER}/access-resets"
    answer = crm.post(path, {"channel": "email", "reference": "r"})
    assert answer.status_code == 201
    email = crm.get(f"/customers/{OWNER}").json()["email"]
    assert email not in answer.text
    assert answer.json()["sent_to"].partition("@")[2] == email.partition("@")[2]
    assert refused(crm, path, {"channel": "sms", "reference": "r"})[0] == 422
    chosen = {"channel": "email", "email": "me@example.com", "reference": "r"}
    assert refused(crm, path, chosen) == (422, "invalid")


def test_an_offer_is_granted_once_to_each_customer(crm):
    path = f"/customers/{OWNER}/offers"
    for offer in OFFERS:
        granted = crm.post(path, {"offer": offer, "reference": "r"})
        assert (granted.status_code, granted.json()["what"]) == (201, offer)
    again = refused(crm, path, {"offer": OFFERS[0], "reference": "s"})
    assert again == (409, "already_granted")
    assert refused(crm, path, {"offer": "a_car", "reference": "r"})[0] == 422
    other = f"/customers/{orders.PENDING_CUSTOMER}/offers"
    assert crm.post(other, {"offer": OFFERS[0], "reference": "r"}).status_code == 201


def test_a_person_who_takes_over_reads_the_whole_summary(crm):
    path = f"/customers/{OWNER}/handovers"
    summary = "x" * SUMMARY_CHARS_MAX
    assert crm.post(path, {"summary": summary, "reference": "r"}).status_code == 201
    assert refused(crm, path, {"summary": summary + "x", "reference": "r"})[0] == 422
    (request,) = crm.get(f"/customers/{OWNER}/requests").json()["requests"]
    assert (request["kind"], request["what"]) == ("handover", summary)


@pytest.mark.parametrize(
    ("expression", "result"),
    [
        ("0.1 + 0.2", "0.3"),
        ("(155.33 - 147.05) * -2", "-16.56"),
        ("1 / 3", "0.33"),
        ("100 - 100", "0"),
        ("+".join("1" * (EXPRESSION_CHARS_MAX // 2)), str(EXPRESSION_CHARS_MAX // 2)),
    ],
)
def test_a_sum_is_exact(crm, expression, result):
    answer = crm.post("/calculate", {"expression": expression})
    assert answer.json() == {"result": result}


@pytest.mark.parametrize(
    "expression",
    ["1 / 0", "2 ** 9", "1 // 1", "(1", "", "one", "__import__", "1" * 201, "9" * 60],
)
def test_what_is_no_sum_is_refused(crm, expression):
    assert refused(crm, "/calculate", {"expression": expression}) == (422, "invalid")


def test_every_product_is_listed_and_every_item_read(crm):
    listed = crm.get("/products").json()["products"]
    assert len(listed) == 50
    assert sorted(listed, key=lambda one: one["name"]) == listed
    product = crm.get(f"/products/{listed[0]['product_id']}").json()
    for variant in product["variants"]:
        found = crm.get(f"/items/{variant['item_id']}").json()
        assert found == {
            **variant,
            "product_id": product["product_id"],
            "name": product["name"],
        }
    assert crm.get("/items/1").json() == {"error": "no_such_item"}


@pytest.mark.parametrize(
    "path", ["balances", "requests", "offers", "address", "handovers", "access-resets"]
)
def test_nothing_is_known_or_done_for_nobody(crm, path):
    bodies: dict[str, dict[str, Any]] = {
        "offers": {"offer": OFFERS[0], "reference": "r"},
        "address": {**ELSEWHERE, "reference": "r"},
        "handovers": {"summary": "s", "reference": "r"},
        "access-resets": {"channel": "email", "reference": "r"},
    }
    where = f"/customers/nobody_1/{path}"
    body = bodies.get(path)
    answer = crm.get(where) if body is None else crm.post(where, body)
    assert (answer.status_code, answer.json()) == (404, {"error": "no_such_customer"})


def test_the_same_key_takes_items_back_once(crm):
    answers = [
        crm.post(f"/orders/{DELIVERED}/return", back(), key="k") for _ in range(2)
    ]
    assert [one.status_code for one in answers] == [200, 200]
    assert answers[1].headers["Idempotent-Replay"] == "true"
    assert len(crm.journal()) == 1
