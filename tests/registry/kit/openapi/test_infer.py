"""What a tool is taken to be, from one operation of somebody's description."""

from __future__ import annotations

import ast
from typing import Any

import pytest

from broker.core.words.effect import Effect
from broker.registry.kit.openapi.code import connector_code
from broker.registry.kit.openapi.infer import import_operations
from broker.registry.kit.openapi.inputs import ARGUMENTS_MAX, PARAMETERS_MAX
from broker.registry.kit.openapi.shapes import ID_PATTERN, LEAVES_MAX
from broker.registry.kit.openapi.spec import Spec
from broker.registry.tools import ManifestError, parse_manifest
from tests.registry.kit.openapi.conftest import (
    TEXT,
    WHOLE,
    asked,
    described,
    imported,
    loaded,
    media,
    of,
    one,
    operation,
    why,
)

MONEY = of({"amount": WHOLE, "currency": {"enum": ["EUR"], **TEXT}}, "amount")
PAID = of(
    {"customer_id": TEXT, "order_id": TEXT, "amount": WHOLE, "currency": TEXT}
    | {"paid_amount": WHOLE}
)
KEY = {"name": "Idempotency-Key", "in": "header", "schema": TEXT}


@pytest.mark.parametrize(
    ("method", "path", "name", "effect"),
    [
        ("get", "/orders/{order_id}", "orders.get", "read"),
        ("get", "/orders", "orders.list", "read"),
        ("get", "/api/v2/orders/{orderId}/items", "orders.items.list", "read"),
        ("get", "/users/{id}/orders", "orders.list", "read"),
        ("get", "/users/{id}", "users.get", "read"),
        ("post", "/orders/search", "orders.search", "read"),
        ("post", "/orders", "orders.create", "state"),
        ("post", "/orders/{id}/cancel", "orders.cancel", "state"),
        ("put", "/orders/{id}", "orders.update", "state"),
        ("patch", "/orders/{id}", "orders.update", "state"),
        ("delete", "/orders/{id}", "orders.delete", "state"),
        ("post", "/orders/{id}/messages", "orders.messages.create", "answer"),
        ("post", "/accounts/{id}/password", "password.create", "identity"),
        ("post", "/orders/{id}/coupons", "orders.coupons.create", "entitlement"),
    ],
)
def test_name_and_effect_follow_from_method_and_path(method, path, name, effect):
    draft = one(path, method)
    assert (draft.name, draft.effect) == (name, effect)
    assert loaded(draft).effect is Effect(effect)
    assert ("effect" in asked(draft)) == (method != "get")


def test_a_get_that_sounds_like_doing_something_is_asked_about():
    assert "effect" in asked(one("/orders/{id}/cancel"))


def test_nothing_that_is_imported_loads_before_it_is_confirmed():
    draft = one("/orders/{order_id}")
    with pytest.raises(ManifestError, match="open questions"):
        parse_manifest(draft.document("x"), name="x")
    for question in draft.questions:
        question["answer"] = "yes"
    with pytest.raises(ManifestError, match="nobody has confirmed"):
        parse_manifest(draft.document("x"), name="x")


def test_an_object_in_the_path_is_bound_and_has_a_pattern():
    tool = loaded(one("/orders/{order_id}"))
    (bound,) = tool.binding.objects
    assert (bound.pointer, bound.kind) == ("/order_id", "order")
    assert tool.arguments["properties"]["order_id"]["pattern"] == ID_PATTERN
    assert tool.requests[0].path == "/orders/{args.order_id}"
    assert {"patterns", "objects"} <= asked(one("/orders/{order_id}"))


def test_a_place_called_id_is_named_after_what_stands_before_it():
    tool = loaded(one("/parcels/{id}"))
    assert tool.requests[0].path == "/parcels/{args.parcel_id}"
    assert tool.binding.objects[0].kind == "parcel"


@pytest.mark.parametrize(
    "given",
    [
        {"path": "/users/{user_id}/orders"},
        {"path": "/customers/{id}/orders"},
        {"path": "/orders", "parameters": [{"name": "customerId", "in": "query"}]},
    ],
)
def test_the_customer_is_the_interactions_and_never_an_argument(given):
    path = given.pop("path")
    draft = one(path, **given)
    tool = loaded(draft)
    assert tool.arguments["properties"] == {}
    request = tool.requests[0]
    assert "{customer}" in f"{request.path} {dict(request.query)}"
    assert tool.binding.needs_customer
    assert tool.receipt.values["owner"] == "/customer_id"
    assert "owner" in asked(draft)


def test_the_customer_in_a_body_is_the_interactions():
    body = of({"ticket": of({"requester_id": TEXT, "subject": TEXT}, "requester_id")})
    tool = loaded(one("/tickets", "post", body=body))
    assert tool.requests[0].body == {
        "ticket": {"requester_id": "{customer}", "subject": "{args.subject}"}
    }
    assert tool.binding.text == ("/subject",)


def test_what_names_the_customer_and_does_not_say_whose_it_was_is_not_imported():
    assert "whose record" in why("/users/{user_id}/orders", answer=of({"n": WHOLE}))


def test_an_answer_that_is_nobodys_is_open_to_all_and_asked_about():
    draft = one("/macros", answer=of({"title": TEXT}))
    tool = loaded(draft)
    assert not tool.binding.needs_customer
    assert {one.label.confidentiality.value for one in tool.output} == {"internal"}
    assert "every interaction" in next(
        question["question"]
        for question in draft.questions
        if question["id"] == "owner"
    )


def test_money_is_bound_to_amount_currency_and_ceiling():
    draft = one(
        "/orders/{order_id}/refunds",
        "post",
        body=MONEY,
        answer=PAID,
        status="201",
        parameters=[KEY],
    )
    tool = loaded(draft)
    assert (tool.effect, tool.binding.amount) == (Effect.MONEY, "/amount")
    assert tool.binding.currency == "/currency"
    assert tool.arguments["properties"]["amount"]["minimum"] == 1
    assert set(tool.arguments["required"]) == {"order_id", "amount", "currency"}
    assert tool.binding.objects[0].cap == "paid"
    assert dict(tool.receipt.values) == {
        "owner": "/customer_id",
        "object": "/order_id",
        "amount": "/amount",
        "currency": "/currency",
        "paid": "/paid_amount",
    }
    assert tool.requests[0].idempotency_header == "Idempotency-Key"
    assert tool.requests[0].idempotency_kept_s == 0
    assert {"effect", "amount", "ceiling", "refused", "key"} <= asked(draft)


@pytest.mark.parametrize(
    ("body", "answer", "says"),
    [
        (of({"note": TEXT}), PAID, "no integer amount"),
        (of({"amount": WHOLE}), PAID, "no integer amount"),
        (MONEY, of({"customer_id": TEXT}), "how much"),
    ],
)
def test_money_without_an_amount_to_hold_it_to_is_not_imported(body, answer, says):
    assert says in why("/orders/{id}/refunds", "post", body=body, answer=answer)


def test_an_amount_makes_it_money_whatever_it_is_called():
    draft = one("/orders/{order_id}/settle", "post", body=MONEY, answer=PAID)
    assert draft.effect == "money"


def test_an_amount_with_fractions_becomes_an_integer_and_a_question():
    body = of({"amount": {"type": "number"}, "currency": TEXT}, "amount")
    draft = one("/orders/{order_id}/refunds", "post", body=body, answer=PAID)
    assert draft.properties["amount"]["type"] == "integer"
    assert "fractions" in asked(draft)


def test_documented_refusals_are_refused_and_what_says_nothing_is_not():
    made = operation(body=of({"note": TEXT}))
    for status in ("404", "408", "422", "500", "503", "default", "4XX"):
        made["responses"][status] = {"description": "x"}
    (draft,) = imported({"/orders/{id}/close": {"post": made}}).drafts
    assert draft.refused == [404, 422]


def test_optional_query_fields_that_could_be_anything_are_left_out():
    parameters: list[dict[str, Any]] = [
        {"name": "q", "in": "query", "schema": TEXT},
        {"name": "state", "in": "query", "schema": {**TEXT, "enum": ["a", "b"]}},
        {"name": "page", "in": "query", "schema": {**WHOLE, "maximum": 9}},
        {"name": "flag", "in": "query", "schema": {"type": "boolean"}},
        {"name": "ids", "in": "query", "schema": {"type": "array", "items": TEXT}},
    ]
    draft = one("/orders/{order_id}", parameters=parameters)
    assert draft.query == {"state": "{args.state}", "page": "{args.page}"}
    question = next(q for q in draft.questions if q["id"] == "left_out")
    assert question["question"].endswith(": q, flag, ids.")


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"parameters": [{"name": "ids", "in": "query", "required": True}]}, "neither"),
        ({"parameters": [{"name": "s", "in": "cookie", "required": True}]}, "cookie"),
        ({"parameters": [{"name": "X-T", "in": "header", "required": True}]}, "header"),
        ({"body": of({"any": {}}, "any")}, "could be anything"),
        ({"body": {"type": "array", "items": TEXT}}, "no object with named fields"),
        ({"requestBody": {"content": {"application/xml": {}}}}, "application/xml"),
        ({"responses": {"default": media(TEXT)}}, "no status from 200"),
        ({"responses": None}, "no responses"),
        ({"parameters": [{"$ref": "other.yaml#/X"}]}, "not fetched"),
        ({"parameters": [{"$ref": "#/nowhere"}]}, "leads nowhere"),
        ({"parameters": ["text"]}, "no object"),
    ],
)
def test_what_a_manifest_cannot_say_is_not_imported_and_says_why(given, says):
    assert says in why("/orders/{order_id}", "post", **given)


@pytest.mark.parametrize(
    ("path", "says"),
    [("/orders/{a}-{b}", "more than one place"), ("/", "root"), ("/{}/x", "")],
)
def test_odd_paths_are_refused_or_named(path, says):
    made = imported({path: {"get": operation()}})
    assert len(made.drafts) + len(made.skipped) == 1
    assert all(says in one.why for one in made.skipped)


def test_a_list_is_returned_under_a_name_and_its_text_is_a_third_partys():
    rows = {"type": "array", "items": of({"id": WHOLE, "body": TEXT, "token": TEXT})}
    draft = one("/notes", answer=rows)
    fields = {field["pointer"]: field for field in draft.fields}
    assert set(fields) == {"/items/*/id", "/items/*/body"}
    assert fields["/items/*/body"]["integrity"] == "third_party"
    assert fields["/items/*/id"]["shows"] == "note"
    assert {"hidden", "texts", "released"} <= asked(draft)
    assert 'listed="items"' in connector_code("x", [draft])


def test_an_answer_without_a_body_gives_nothing():
    made = operation()
    made["responses"] = {"204": {"description": "done"}}
    (draft,) = imported({"/orders/{id}/close": {"post": made}}).drafts
    assert "accept_empty(response, 204)" in connector_code("x", [draft])


def test_names_are_taken_once():
    paths = {"/orders/{id}": {"get": operation()}, "/orders/{a}/": {"get": operation()}}
    made = imported(paths)
    assert [draft.name for draft in made.drafts] == ["orders.get"]
    assert "named orders.get already" in made.skipped[0].why
    spec = Spec(described({"/orders/{id}": {"get": operation()}}))
    found = import_operations(
        spec, spec.operations(), connector="shop", taken={"orders.get"}
    )
    assert found.drafts == ()


def test_scopes_come_from_the_operation_or_the_document():
    made = operation(security=[{"oauth": ["orders:read", "two words"]}])
    (draft,) = imported({"/orders/{id}": {"get": made}}).drafts
    assert loaded(draft).requests[0].scopes == ("orders:read",)
    spec = Spec(
        {
            **described({"/orders/{id}": {"get": operation()}}),
            "security": [{"oauth": ["all"]}],
        }
    )
    found = import_operations(spec, spec.operations(), connector="shop", taken=set())
    assert found.drafts[0].scopes == ["all"]


def test_arguments_and_parameters_have_limits():
    def body(count: int) -> dict[str, Any]:
        return of({f"f{n}": {**TEXT, "maxLength": 5} for n in range(count)})

    full = one("/orders", "post", body=body(ARGUMENTS_MAX))
    assert len(full.properties) == ARGUMENTS_MAX
    assert "left_out" not in asked(full)
    past = one("/orders", "post", body=body(ARGUMENTS_MAX + 1))
    assert len(past.properties) == ARGUMENTS_MAX
    assert "left_out" in asked(past)

    def query(count: int) -> list[dict[str, Any]]:
        return [{"name": f"q{n}", "in": "query", "schema": TEXT} for n in range(count)]

    assert one("/orders", parameters=query(PARAMETERS_MAX)).query == {}
    assert "parameters" in why("/orders", parameters=query(PARAMETERS_MAX + 1))


def test_the_customers_own_id_is_read_for_the_receipt_and_never_released():
    ticket = of({"id": WHOLE, "requester_id": TEXT, "subject": TEXT})
    draft = one("/tickets", answer=of({"ticket": ticket}))
    assert draft.receipt["owner"] == "/ticket/requester_id"
    released = [field["pointer"] for field in draft.fields]
    assert released == ["/ticket/id", "/ticket/subject"]


def test_released_fields_have_a_limit_and_the_shallow_ones_come_first():
    deep = of({f"d{n}": WHOLE for n in range(LEAVES_MAX)})
    draft = one("/orders", answer=of({"deep": deep, "near": TEXT}))
    assert len(draft.fields) == LEAVES_MAX
    assert draft.fields[0]["pointer"] == "/near"

    assert "deeper" in next(
        question["question"]
        for question in draft.questions
        if question["id"] == "hidden"
    )


def test_the_code_sends_what_the_manifest_says():
    body = of({"a": {**TEXT, "enum": ["x", "y"]}, "in": of({"class": TEXT})}, "a")
    drafts = [
        one("/orders/{class}", "put", body=body),
        one("/users/{id}/orders", parameters=[{**KEY}]),
    ]
    code = connector_code('a "shop"\n', drafts)
    tree = ast.parse(code)
    functions = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    assert functions == {draft.entry for draft in drafts}
    assert 'class_ = segment(call.arguments["class"])' in code
    assert '"a": call.arguments["a"],' in code
    assert "customer = segment(call.customer)" in code
