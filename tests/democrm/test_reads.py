"""Customers, orders and products, as the data have them."""

import gzip
import json
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.democrm.books import reads
from infra.democrm.books.source import DATA_FILE, Catalogue, minor_units
from infra.democrm.books.store import Store
from tests.democrm import orders
from tests.support.crm import Crm


def test_an_order_is_answered_whole(crm: Crm) -> None:
    order = crm.order(orders.PROCESSED)
    assert order.pop("items")[0] == {
        "item_id": "6469567736",
        "product_id": "8310926033",
        "name": "Water Bottle",
        "price_minor_units": 4784,
        "options": {"capacity": "1000ml", "material": "glass", "color": "blue"},
    }
    assert order.pop("address")["zip"] == "10083"
    assert order == {
        "order_id": orders.PROCESSED,
        "customer_id": orders.PROCESSED_CUSTOMER,
        "status": "processed",
        "currency": "USD",
        "paid_minor_units": 53665,
        "refunded_minor_units": 0,
        "payments": [
            {
                "kind": "payment",
                "amount_minor_units": 53665,
                "payment_method_id": orders.PROCESSED_METHOD,
            }
        ],
        "notes": [],
        "tracking_ids": ["357962501027"],
        "cancel_reason": None,
    }


def test_a_customer_is_answered_without_the_balance_of_a_gift_card(crm: Crm) -> None:
    customer = crm.get(f"/customers/{orders.PROCESSED_CUSTOMER}").json()
    assert customer["address"].pop("address1") == "215 River Road"
    assert customer == {
        "customer_id": orders.PROCESSED_CUSTOMER,
        "name": {"first_name": "James", "last_name": "Li"},
        "email": "james.li4495@example.com",
        "address": {
            "address2": "Suite 991",
            "city": "New York",
            "country": "USA",
            "state": "NY",
            "zip": "10083",
        },
        "payment_methods": [
            {
                "payment_method_id": orders.PROCESSED_METHOD,
                "source": "gift_card",
                "brand": None,
                "last_four": None,
            }
        ],
        "order_ids": ["W2611340", "W3632959", "W4435622", "W3638028"],
    }


def test_a_product_is_answered_with_exact_prices(crm: Crm) -> None:
    product = crm.get("/products/9523456873").json()
    assert (product["product_id"], product["name"]) == ("9523456873", "T-Shirt")
    assert product["variants"][0] == {
        "item_id": "9612497925",
        "options": {
            "color": "blue",
            "size": "M",
            "material": "cotton",
            "style": "crew neck",
        },
        "available": True,
        "price_minor_units": 5088,
    }


@pytest.mark.parametrize(
    ("path", "error"),
    [
        ("/orders/W0000000", "no_such_order"),
        ("/orders/W0000000/refunds", "no_such_order"),
        ("/orders/%23W2611340", "no_such_path"),
        ("/customers/nobody_1", "no_such_customer"),
        ("/customers/nobody_1/replies", "no_such_customer"),
        ("/products/1", "no_such_product"),
    ],
)
def test_what_is_not_there_is_404(crm: Crm, path: str, error: str) -> None:
    response = crm.get(path)
    assert (response.status_code, response.json()) == (404, {"error": error})


@pytest.mark.parametrize(
    "details",
    [
        {"email": "james.li4495@example.com"},
        {"email": " James.LI4495@Example.com "},
        {"first_name": "James", "last_name": "Li", "zip": "10083"},
        {"first_name": "james", "last_name": "LI ", "zip": "10083"},
    ],
)
def test_a_customer_is_found_whatever_the_case(crm: Crm, details: object) -> None:
    response = crm.post("/customers/find", details)
    assert response.status_code == 200
    assert response.json() == {
        "customer_id": orders.PROCESSED_CUSTOMER,
        "matched": True,
    }


@pytest.mark.parametrize(
    "details",
    [
        {"email": "james.li4495@example.org"},
        {"email": "%"},
        {"first_name": "James", "last_name": "Li", "zip": "10084"},
        {"first_name": "James\nLi", "last_name": "10083", "zip": "x"},
    ],
)
def test_a_customer_who_does_not_match_is_404(crm: Crm, details: object) -> None:
    response = crm.post("/customers/find", details)
    assert (response.status_code, response.json()) == (404, {"error": "no_match"})


@pytest.mark.parametrize(
    ("details", "field"),
    [
        ({}, "/first_name"),
        ({"first_name": "James", "last_name": "Li"}, "/zip"),
        ({"email": "a@example.com", "zip": "10083"}, ""),
        ({"email": None}, "/email"),
        ({"email": "   "}, "/email"),
    ],
)
def test_half_of_the_details_are_422(crm: Crm, details: object, field: str) -> None:
    response = crm.post("/customers/find", details)
    assert response.status_code == 422
    assert (response.json()["error"], response.json()["field"]) == ("invalid", field)


def test_two_customers_of_one_name_and_place_are_no_match(books: Store) -> None:
    books.connection.execute(
        "INSERT INTO customers SELECT 'twin', 'twin@example.com', name_folded, view,"
        " changed, name_folded_at_load FROM customers WHERE customer_id = ?",
        (orders.PROCESSED_CUSTOMER,),
    )
    answer = reads.find_by_name(
        books.connection, first_name="James", last_name="Li", zip_code="10083"
    )
    assert answer.status == 404


def test_every_order_of_the_data_is_there_with_its_exact_money(
    books: Store, catalogue: Catalogue
) -> None:
    with gzip.open(DATA_FILE) as file:
        data = json.load(file, parse_float=Decimal)
    assert len(catalogue.orders) == len(data["orders"]) == 1000
    for given_order in data["orders"].values():
        order = reads.order(books.connection, given_order["order_id"][1:]).body
        assert isinstance(order, dict)
        sums = {"payment": Decimal(0), "refund": Decimal(0)}
        for entry in given_order["payment_history"]:
            sums[entry["transaction_type"]] += entry["amount"]
        assert order["paid_minor_units"] == sums["payment"] * 100
        assert order["refunded_minor_units"] == sums["refund"] * 100
        prices = sum(item["price_minor_units"] for item in order["items"])
        assert prices == order["paid_minor_units"]


def test_every_customer_is_found_by_both_ways(
    books: Store, catalogue: Catalogue
) -> None:
    assert len(catalogue.customers) == 500
    for customer in catalogue.customers:
        found = {"customer_id": customer.customer_id, "matched": True}
        assert reads.find_by_email(books.connection, customer.email).body == found
        by_name = reads.find_by_name(
            books.connection,
            first_name=customer.first_name,
            last_name=customer.last_name,
            zip_code=customer.zip_code,
        )
        assert by_name.body == found


@given(st.integers(0, 2**60))
def test_dollars_become_cents_without_loss(cents: int) -> None:
    assert minor_units(Decimal(f"{cents // 100}.{cents % 100:02d}")) == cents


def test_a_fraction_of_a_cent_is_refused_rather_than_rounded() -> None:
    with pytest.raises(ValueError, match="whole number of cents"):
        minor_units(Decimal("0.005"))
