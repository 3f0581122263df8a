"""[receipt.find], [reconcile] and [undo]: what cannot be meant does not load."""

from __future__ import annotations

import copy
import tomllib
from typing import Any

import pytest

from broker.registry.aftermath import ABSENT_AFTER_S_MAX, MAPPED_MAX
from broker.registry.tools import ManifestError, parse_manifest

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
[[egress.requests]]
id = "refund"
method = "POST"
path = "/orders/{args.order}/refunds"
effectful = true
done = [201]
[receipt]
request = "refund"
values = { owner = "/o", amount = "/a", currency = "/c", refund = "/id" }
[reconcile]
tool = "orders.refunds.find"
absent_after_s = 60
[reconcile.arguments]
order = "{args.order}"
reference = "{action}"
who = "{customer}"
kind = "refund"
[undo]
tool = "orders.refund.reverse"
[undo.arguments]
order = "{args.order}"
refund = "{receipt.refund}"
reason = "undone"
"""
READ = """
schema = 1
[tool]
name = "orders.refunds.find"
version = 1
connector = "retail"
title = "Find"
description = "Finds."
effect = "read"
entry = "find"
[arguments]
type = "object"
additionalProperties = false
required = ["order", "reference"]
[arguments.properties]
order = {}
reference = {}
note = {}
[[egress.requests]]
id = "list"
method = "GET"
path = "/orders/{args.order}/refunds"
[receipt]
request = "list"
values = { owner = "/o" }
[receipt.find]
list = "/refunds"
mark = "/reference"
argument = "reference"
more = "/more"
"""


def changed(text: str, path: str, value: Any) -> dict[str, Any]:
    document = copy.deepcopy(tomllib.loads(text))
    *folders, last = path.split("/")
    here = document
    for name in folders:
        here = here[name]
    here[last] = value
    return document


def test_a_good_one_says_how_to_find_out_and_how_to_take_back() -> None:
    tool = parse_manifest(tomllib.loads(GOOD), name="x")
    assert tool.reconcile is not None
    assert tool.reconcile.absent_after_s == 60
    assert tool.undo is not None
    assert tool.undo.arguments["refund"] == "{receipt.refund}"
    find = parse_manifest(tomllib.loads(READ), name="x").receipt.find
    assert find is not None
    assert (find.list, find.mark, find.argument) == (
        "/refunds",
        "/reference",
        "reference",
    )


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("reconcile/absent_after_s", ABSENT_AFTER_S_MAX + 1),
        ("reconcile/absent_after_s", -1),
        ("reconcile/tool", "Find"),
        ("reconcile/more", True),
        ("reconcile/arguments/order", "{args.note}"),
        ("reconcile/arguments/order", "{args.other}"),
        ("reconcile/arguments/order", "x-{args.order}"),
        ("reconcile/arguments/order", "{receipt.refund}"),
        ("reconcile/arguments/order", 7),
        ("reconcile/arguments", {f"a{n}": "x" for n in range(MAPPED_MAX + 1)}),
        ("undo/tool", 7),
        ("undo/arguments/refund", "{receipt.other}"),
        ("undo/arguments/refund", "{args.other}"),
        ("undo/arguments/refund", "a {receipt.refund}"),
        ("undo/arguments/bad name", "x"),
        ("undo/arguments", []),
    ],
)
def test_what_cannot_be_meant_does_not_load(path: str, value: Any) -> None:
    with pytest.raises(ManifestError):
        parse_manifest(changed(GOOD, path, value), name="x")


def test_so_many_arguments_load_and_so_long_a_wait() -> None:
    many = {f"a{n}": "x" for n in range(MAPPED_MAX)}
    parse_manifest(changed(GOOD, "reconcile/arguments", many), name="x")
    late = changed(GOOD, "reconcile/absent_after_s", ABSENT_AFTER_S_MAX)
    parse_manifest(late, name="x")


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("receipt/find/argument", "note"),
        ("receipt/find/argument", "other"),
        ("receipt/find/mark", ""),
        ("receipt/find/list", "refunds"),
        ("receipt/find/more", "more"),
        ("receipt/find/extra", "x"),
        ("receipt/values/found", "/x"),
        ("receipt/values/more", "/x"),
        ("reconcile", {"tool": "a.b"}),
        ("undo", {"tool": "a.b"}),
    ],
)
def test_a_reading_that_cannot_be_meant_does_not_load(path: str, value: Any) -> None:
    with pytest.raises(ManifestError):
        parse_manifest(changed(READ, path, value), name="x")


def test_only_what_reads_finds_in_a_list() -> None:
    find = {"list": "", "mark": "/x", "argument": "order"}
    with pytest.raises(ManifestError, match="tools that read"):
        parse_manifest(changed(GOOD, "receipt/find", find), name="x")
