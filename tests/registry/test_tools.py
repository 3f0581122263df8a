"""Manifests: one that says less, more or something else than it may does not load."""

import copy
import tomllib
from pathlib import Path
from typing import Any

import pytest

from broker.core.words.effect import Effect, Tier
from broker.core.words.tool import Binding, EgressRequest, OutputField
from broker.registry.tools import (
    QUERY_FIELDS_MAX,
    RECEIPT_VALUES_MAX,
    REQUESTS_MAX,
    RESPONSE_BYTES_MAX,
    SCOPES_MAX,
    STATUSES_MAX,
    TIMEOUT_S_MAX,
    TOOL_NAME_LENGTH_MAX,
    ManifestError,
    manifest_digest,
    parse_manifest,
)

GOOD = """
schema = 1
[tool]
name = "orders.refund"
version = 1
connector = "retail"
title = "Refund"
description = "Refunds an amount."
effect = "money"
entry = "orders_refund"
[arguments]
type = "object"
additionalProperties = false
required = ["order", "amount", "currency"]
[arguments.properties]
order = {}
amount = {}
currency = {}
note = {}
[binding]
amount = "/amount"
currency = "/currency"
[egress]
[[egress.requests]]
id = "read"
method = "GET"
path = "/orders/{args.order}"
query = { note = "{args.note}" }
[[egress.requests]]
id = "refund"
method = "POST"
path = "/customers/{customer}/orders/{args.order}/refunds"
effectful = true
idempotency_header = "Idempotency-Key"
done = [201]
refused = [409]
[egress.requests.body]
amount = "{args.amount}"
currency = "{args.currency}"
note = "for {args.note}"
reference = "{action}"
[receipt]
request = "refund"
[receipt.values]
owner = "/customer"
amount = "/amount"
currency = "/currency"
"""


def good() -> dict[str, Any]:
    return tomllib.loads(GOOD)


def changed(pointer: str, value: Any) -> dict[str, Any]:
    """Return the manifest with one value put in; None takes it out."""
    data = copy.deepcopy(good())
    here: Any = data
    *parts, last = pointer.split("/")
    for part in parts:
        here = here[int(part)] if part.isdigit() else here[part]
    if value is None:
        del here[last]
    else:
        here[last] = value
    return data


def refused(data: dict[str, Any]) -> str:
    with pytest.raises(ManifestError) as caught:
        parse_manifest(data, name="orders.refund.toml")
    assert "orders.refund.toml" in str(caught.value)
    return str(caught.value)


READ, REFUND = "egress/requests/0", "egress/requests/1"


def test_a_good_manifest_loads_with_what_follows_from_it() -> None:
    tool = parse_manifest(good(), name="x")
    assert (tool.effect, tool.tier) == (Effect.MONEY, Tier.CONSEQUENTIAL)
    assert tool.request("refund").effectful
    assert tool.digest == manifest_digest(good())
    with pytest.raises(KeyError):
        tool.request("other")


def test_the_digest_follows_the_content_and_not_its_order() -> None:
    data = good()
    turned = {name: data[name] for name in reversed(data)}
    assert manifest_digest(turned) == manifest_digest(data)
    assert manifest_digest(changed("tool/title", "x")) != manifest_digest(data)


@pytest.mark.parametrize(
    ("pointer", "value"),
    [
        ("schema", 2),
        ("tool/effect", None),
        ("tool/effect", "nothing"),
        ("tool/name", "refund"),
        ("tool/name", "Orders.refund"),
        ("tool/name", "../x.y"),
        ("tool/connector", "../retail"),
        ("tool/version", 0),
        ("tool/version", True),
        ("tool/version", "1"),
        ("tool/preload", "no"),
        ("tool/preload", 1),
        ("tool/tier", 1),
        ("tool/timeout_s", 0),
        ("arguments/additionalProperties", True),
        ("arguments/additionalProperties", None),
        ("arguments/type", "array"),
        ("binding/amount", "/nothing"),
        ("binding/amount", None),
        ("binding/currency", ""),
        ("binding/needs_customer", "false"),
        ("binding/needs_customer", 0),
        ("egress/requests", []),
        ("egress/requests_max", 0),
        ("egress/host", "evil.test"),
        ("receipt/request", "read"),
        ("receipt/request", "other"),
        ("receipt/values/owner", None),
        ("receipt/values/amount", None),
        ("receipt/values/amount", "amount"),
        ("receipt/values/amount", "/a~2b"),
        ("receipt/values/amount", 1),
        ("receipt/values/Amount", "/amount"),
        (f"{READ}/id", "refund"),
        (f"{READ}/id", "Re ad"),
        (f"{READ}/method", "HEAD"),
        (f"{READ}/method", "get"),
        (f"{READ}/effectful", True),
        (f"{READ}/body", {"a": 1}),
        (f"{READ}/url", "https://evil.test"),
        (f"{READ}/path", "orders"),
        (f"{READ}/path", "https://evil.test/"),
        (f"{READ}/path", "//evil.test/"),
        (f"{READ}/path", "/orders/../admin"),
        (f"{READ}/path", "/orders?x=y"),
        (f"{READ}/path", "/orders/{args.note}"),
        (f"{READ}/path", "/orders/{args.other}"),
        (f"{READ}/path", "/orders/{order}"),
        (f"{READ}/path", "/orders/{args.order"),
        (f"{READ}/query", {"a": 1}),
        (f"{READ}/query", {"a": "{args.other}"}),
        (f"{READ}/query", ["a"]),
        (f"{READ}/done", []),
        (f"{READ}/done", [302]),
        (f"{READ}/done", ["200"]),
        (f"{READ}/done", 200),
        (f"{READ}/refused", [200]),
        (f"{READ}/times_max", 0),
        (f"{REFUND}/effectful", None),
        (f"{REFUND}/effectful", 1),
        (f"{REFUND}/effectful", "true"),
        (f"{REFUND}/times_max", 2),
        (f"{REFUND}/body", ["{args.amount}"]),
        (f"{REFUND}/body/amount", "{args.other}"),
        (f"{REFUND}/body/amount", "{args.amount}}"),
        (f"{REFUND}/body/amount", {"{action}": 1}),
        (f"{REFUND}/idempotency_header", "Authorization"),
        (f"{REFUND}/idempotency_header", "Host"),
        (f"{REFUND}/idempotency_header", "Content-Length"),
        (f"{REFUND}/idempotency_header", "Idempotency-Key: x\r\nHost"),
        (f"{REFUND}/idempotency_kept_s", -1),
    ],
)
def test_a_manifest_with_one_wrong_value_does_not_load(pointer, value) -> None:
    refused(changed(pointer, value))


@pytest.mark.parametrize("header", ["Idempotency-Key", "PayPal-Request-Id", ""])
def test_a_header_for_the_key_is_one_that_is_made_for_it(header) -> None:
    data = changed(f"{REFUND}/idempotency_header", header)
    assert parse_manifest(data, name="x").request("refund").idempotency_header == header


def test_the_customer_is_used_only_by_a_tool_that_needs_one() -> None:
    off: dict[str, Any] = {"pointer": "binding/needs_customer", "value": False}
    assert "customer" in refused(changed(**off))


def test_a_tool_that_causes_nothing_has_no_effectful_request() -> None:
    assert "effectful" in refused(changed("tool/effect", "read"))


def test_a_tool_has_exactly_one_effectful_request_and_its_receipt_names_it() -> None:
    data = good()
    another = copy.deepcopy(data["egress"]["requests"][1]) | {"id": "again"}
    data["egress"]["requests"].append(another)
    assert "exactly one" in refused(data)


@pytest.mark.parametrize(
    ("pointer", "at_limit", "past_it"),
    [
        (
            "tool/name",
            "a." + "b" * (TOOL_NAME_LENGTH_MAX - 2),
            "a." + "b" * (TOOL_NAME_LENGTH_MAX - 1),
        ),
        ("tool/timeout_s", TIMEOUT_S_MAX, TIMEOUT_S_MAX + 1),
        ("egress/requests_max", REQUESTS_MAX, REQUESTS_MAX + 1),
        ("egress/response_bytes_max", RESPONSE_BYTES_MAX, RESPONSE_BYTES_MAX + 1),
        (f"{READ}/times_max", REQUESTS_MAX, REQUESTS_MAX + 1),
        (
            f"{READ}/refused",
            list(range(400, 400 + STATUSES_MAX)),
            list(range(400, 401 + STATUSES_MAX)),
        ),
        (
            f"{READ}/scopes",
            [f"tickets:{n}" for n in range(SCOPES_MAX)],
            [f"tickets:{n}" for n in range(SCOPES_MAX + 1)],
        ),
        (f"{READ}/scopes", ["x" * 100], ["two words"]),
        (
            f"{READ}/query",
            {f"q{n}": "x" for n in range(QUERY_FIELDS_MAX)},
            {f"q{n}": "x" for n in range(QUERY_FIELDS_MAX + 1)},
        ),
    ],
)
def test_limits_hold_at_the_limit_and_one_past_it(pointer, at_limit, past_it) -> None:
    parse_manifest(changed(pointer, at_limit), name="x")
    refused(changed(pointer, past_it))


def test_a_receipt_names_only_so_many_values() -> None:
    data = good()
    values = data["receipt"]["values"]
    for number in range(RECEIPT_VALUES_MAX - len(values)):
        values[f"v{number}"] = "/v"
    parse_manifest(data, name="x")
    values["one_more"] = "/v"
    refused(data)


PAGE = (Path(__file__).parents[2] / "docs" / "manifests.md").read_text("utf-8")


def test_the_example_on_the_page_loads() -> None:
    example = PAGE.split("```toml\n")[1].split("```")[0]
    tool = parse_manifest(tomllib.loads(example), name="docs/manifests.md")
    assert tool.name == "orders.refund"


def test_every_field_is_on_the_page() -> None:
    fields: set[str] = set()
    for word in (Binding, EgressRequest, OutputField):
        fields |= {name for name in word.__dataclass_fields__ if name != "label"}
    fields |= {"name", "version", "connector", "effect", "entry", "preload"}
    renamed = {"request_id": "id", "data_class": "class"}
    for name in fields:
        assert f"`{renamed.get(name, name)}`" in PAGE, name
