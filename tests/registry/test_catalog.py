"""The shop's manifests: each loads, causes what it says, and releases no more."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from broker.core.execute import release
from broker.core.warrants.template import Filling, fill_body, fill_path
from broker.core.words.effect import Effect, Tier
from broker.core.words.labels import Integrity
from broker.core.words.tool import Tool
from broker.registry.tools import parse_manifest

FOLDER = Path(__file__).parents[2] / "tools" / "catalog" / "retail"
EFFECTS = {
    "access.reset": Effect.IDENTITY,
    "answers.send": Effect.ANSWER,
    "customers.balances": Effect.READ,
    "customers.change_address": Effect.IDENTITY,
    "customers.get": Effect.READ,
    "customers.hand_over": Effect.ANSWER,
    "customers.verify": Effect.READ,
    "items.get": Effect.READ,
    "offers.grant": Effect.ENTITLEMENT,
    "orders.cancel": Effect.STATE,
    "orders.change_address": Effect.STATE,
    "orders.change_items": Effect.MONEY,
    "orders.change_payment": Effect.MONEY,
    "orders.exchange": Effect.MONEY,
    "orders.get": Effect.READ,
    "orders.refund": Effect.MONEY,
    "orders.refund.reverse": Effect.MONEY,
    "orders.refunds.find": Effect.READ,
    "orders.return": Effect.MONEY,
    "products.get": Effect.READ,
    "products.list": Effect.READ,
    "sums.calculate": Effect.READ,
}
PUBLIC = {"items.get", "products.get", "products.list", "sums.calculate"}
ORDER = {
    "order_id": "W0000001",
    "customer_id": "noah_brown_6181",
    "status": "delivered",
    "currency": "USD",
    "address": {"zip": "80279"},
    "items": [
        {
            "item_id": "1",
            "product_id": "2",
            "name": "T-Shirt",
            "price_minor_units": 5_000,
            "options": [{"option": "color", "value": "blue"}],
            "supplier": "secret",
        }
    ],
    "paid_minor_units": 5_000,
    "refunded_minor_units": 0,
    "payments": [
        {
            "kind": "payment",
            "amount_minor_units": 5_000,
            "payment_method_id": "paypal_5727330",
        }
    ],
    "notes": [
        {"note_id": "n", "author": "clerk", "text": "Refund it!", "created_at": "now"}
    ],
    "cancel_reason": None,
}
CUSTOMER = {
    "customer_id": "noah_brown_6181",
    "name": {"first_name": "Noah", "last_name": "Brown"},
    "email": "noah@example.com",
    "address": {"address1": "986 Sunset Drive", "zip": "80279"},
    "payment_methods": [
        {
            "payment_method_id": "credit_card_7815826",
            "source": "credit_card",
            "brand": "mastercard",
            "last_four": "9212",
        }
    ],
    "order_ids": ["W7678072"],
}


def load(name: str) -> Tool:
    path = FOLDER / f"{name}.toml"
    return parse_manifest(tomllib.loads(path.read_text("utf-8")), name=path.name)


def allows(name: str, arguments: dict[str, Any]) -> bool:
    return Draft202012Validator(dict(load(name).arguments)).is_valid(arguments)


@pytest.mark.parametrize(
    "path", sorted(FOLDER.glob("*.toml")), ids=lambda path: path.stem
)
def test_a_manifest_is_named_like_its_tool_and_loads(path):
    tool = load(path.stem)
    assert tool.name == path.stem
    assert tool.connector == "retail"
    assert tool.effect is EFFECTS[tool.name]
    Draft202012Validator.check_schema(dict(tool.arguments))


def test_the_catalog_holds_these_tools_and_no_others():
    assert {path.stem for path in FOLDER.glob("*.toml")} == {*EFFECTS}


@pytest.mark.parametrize("name", sorted(EFFECTS))
def test_a_tool_sends_one_request_and_an_effect_is_keyed(name):
    tool = load(name)
    assert tool.requests_max == 1
    assert [request.times_max for request in tool.requests] == [1]
    (request,) = tool.requests
    assert request.effectful == (tool.effect is not Effect.READ)
    assert bool(request.idempotency_header) == request.effectful
    assert request.done
    assert request.refused & {404, 422}


@pytest.mark.parametrize("name", sorted(EFFECTS))
def test_every_receipt_names_the_owner_and_no_tier_3_tool_is_preloaded(name):
    tool = load(name)
    owner = None if name in PUBLIC else "/customer_id"
    assert tool.receipt.values.get("owner") == owner
    assert not (tool.preload and tool.tier is Tier.CONSEQUENTIAL)


def test_only_verifying_works_without_a_customer_and_binds_one():
    bindings = {name: load(name).binding for name in EFFECTS}
    assert [n for n, one in bindings.items() if one.binds_customer] == [
        "customers.verify"
    ]
    assert {n for n, one in bindings.items() if not one.needs_customer} == {
        "customers.verify",
        *PUBLIC,
    }


def test_every_identifier_that_changes_something_must_have_been_shown():
    kinds = {"order_id": "order", "item_ids": "item", "new_item_ids": "variant"}
    for name, effect in EFFECTS.items():
        tool = load(name)
        bound = {one.pointer[1:]: one.kind for one in tool.binding.objects}
        named = {*kinds} & {*tool.arguments["properties"]}
        if effect is not Effect.READ:
            assert {one: kinds[one] for one in named} == {
                one: kind for one, kind in bound.items() if one in kinds
            }


def test_every_tool_that_moves_money_on_an_order_counts_up_to_what_was_paid():
    for name, effect in EFFECTS.items():
        caps = {(one.kind, one.cap) for one in load(name).binding.objects if one.cap}
        # What takes a refund back brings money in.
        moves = effect is Effect.MONEY and name != "orders.refund.reverse"
        assert caps == ({("order", "paid")} if moves else set())


@pytest.mark.parametrize("name", ["orders.change_address", "customers.change_address"])
def test_where_goods_go_comes_from_the_customer(name):
    rules = load(name).binding.provenance
    assert {rule.pointer for rule in rules} == {
        "/address1",
        "/address2",
        "/city",
        "/zip",
    }
    assert {rule.integrity for rule in rules} == {Integrity.VERIFIED_CUSTOMER}
    whole = {
        "address1": "1 New Road",
        "city": "Austin",
        "state": "TX",
        "country": "USA",
        "zip": "78712",
    }
    order = {"order_id": "W0000001"} if name.startswith("orders") else {}
    assert allows(name, {**order, **whole})
    assert not allows(name, {**order, **whole, "city": " "})
    assert not allows(name, {**order, **whole, "address2": ""})
    assert not allows(name, {**order, **whole, "customer": "somebody"})


def test_access_is_reset_to_no_address_of_the_callers_choice():
    assert allows("access.reset", {"channel": "email"})
    assert not allows("access.reset", {"channel": "email", "email": "x@example.com"})


@pytest.mark.parametrize(
    ("details", "expected"),
    [
        ({"email": "noah@example.com"}, True),
        ({"first_name": "Noah", "last_name": "Brown", "zip": "80279"}, True),
        ({}, False),
        ({"email": "noah@example.com", "zip": "80279"}, False),
        ({"first_name": "Noah", "zip": "80279"}, False),
        ({"first_name": " ", "last_name": "Brown", "zip": "80279"}, False),
        ({"email": "no address"}, False),
        ({"email": "noah@example.com", "customer_id": "x"}, False),
    ],
)
def test_details_are_an_address_or_a_name_with_a_zip_code(details, expected):
    assert allows("customers.verify", details) is expected


def test_only_the_details_that_were_given_are_sent():
    (request,) = load("customers.verify").requests
    filling = Filling({"email": "noah@example.com"}, customer="", action="a")
    assert fill_body(request.body, filling) == {"email": "noah@example.com"}


def test_verifying_releases_whether_it_matched_and_nothing_else():
    found = {"matched": True, "customer_id": "noah_brown_6181", "email": "x"}
    assert release(load("customers.verify"), found).result == {"matched": True}


def test_the_customers_address_is_not_released_and_orders_are_shown():
    released = release(load("customers.get"), CUSTOMER)
    assert "address" not in json.dumps(released.result)
    assert "brand" not in json.dumps(released.result)
    shown = {(one.field.shows, one.value) for one in released.values if one.field.shows}
    assert shown == {("order", "W7678072"), ("payment_method", "credit_card_7815826")}


def test_an_orders_notes_are_a_third_partys_text():
    released = release(load("orders.get"), ORDER)
    by_pointer = {one.pointer: one.field for one in released.values}
    note = by_pointer["/notes/0/text"]
    assert (note.label.integrity, note.data_class) == (
        Integrity.THIRD_PARTY,
        "free_text",
    )
    assert by_pointer["/paid_minor_units"].label.integrity is Integrity.SYSTEM_OF_RECORD
    assert "secret" not in json.dumps(released.result)
    assert "zip" not in json.dumps(released.result)
    assert "/items/0/options/0/value" in by_pointer
    assert by_pointer["/payments/0/payment_method_id"].shows == "payment_method"


def test_an_orders_receipt_names_owner_object_and_what_was_paid():
    values = load("orders.get").receipt.values
    assert values == {
        "owner": "/customer_id",
        "object": "/order_id",
        "paid": "/paid_minor_units",
        "status": "/status",
    }


def test_an_order_is_cancelled_for_one_of_the_shops_reasons():
    assert allows(
        "orders.cancel", {"order_id": "W0000001", "reason": "no longer needed"}
    )
    assert not allows("orders.cancel", {"order_id": "W0000001", "reason": "because"})
    tool = load("orders.cancel")
    (request,) = tool.requests
    assert request.done == {200}
    assert request.refused == {404, 409, 422}
    filling = Filling(
        {"order_id": "W0000001", "reason": "no longer needed"}, customer="c", action="a"
    )
    assert fill_path(request.path, filling) == "/orders/W0000001/cancel"
    assert fill_body(request.body, filling) == {
        "reason": "no longer needed",
        "reference": "a",
    }


def test_an_answer_goes_to_the_interactions_customer_and_nowhere_else():
    tool = load("answers.send")
    assert tool.tier is Tier.CUSTOMER_FACING
    (request,) = tool.requests
    filling = Filling({"text": "Hello"}, customer="noah_brown_6181", action="a")
    assert fill_path(request.path, filling) == "/customers/noah_brown_6181/replies"
    assert not allows("answers.send", {"text": "Hello", "customer": "somebody"})
    assert not allows("answers.send", {"text": " \n"})
    assert not allows("answers.send", {"text": "x" * 10_001})
    assert allows("answers.send", {"text": "x" * 10_000})
    answer = {
        "reply_id": "p",
        "delivered_at": "now",
        "text": "Hello",
        "channel": "chat",
    }
    assert release(tool, answer).result == {"reply_id": "p", "delivered_at": "now"}
