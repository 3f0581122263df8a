"""Each lint rule finds what it is for, and the catalogue has nothing left to find."""

from __future__ import annotations

import copy
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from broker.effects.shelf import read_manifest
from broker.registry.kit.lint import RULES, STALE, lint
from broker.registry.kit.rules_in import SHORT_TEXT_CHARS_MAX
from broker.registry.kit.rules_out import ANSWER_BYTES_MAX
from broker.registry.review import read_accepted
from broker.registry.tools import parse_manifest

TOP = Path(__file__).parents[3]
EXAMPLE = (TOP / "docs" / "manifests.md").read_text("utf-8")
ID = {"type": "string", "pattern": "^[0-9]{1,9}$"}


def refund() -> dict[str, Any]:
    """Return the refund that docs/manifests.md shows in full."""
    return tomllib.loads(EXAMPLE.split("```toml\n")[1].split("```")[0])


def read() -> dict[str, Any]:
    """Return a small tool that reads one ticket of the customer."""
    return {
        "schema": 1,
        "tool": {
            "name": "tickets.get",
            "version": 1,
            "connector": "helpdesk",
            "title": "Read a ticket",
            "description": "Reads a ticket.",
            "effect": "read",
            "entry": "tickets_get",
        },
        "arguments": {
            "type": "object",
            "additionalProperties": False,
            "required": ["ticket_id"],
            "properties": {"ticket_id": dict(ID)},
        },
        "binding": {"objects": [{"pointer": "/ticket_id", "kind": "ticket"}]},
        "egress": {
            "requests": [
                {"id": "get", "method": "GET", "path": "/tickets/{args.ticket_id}"}
            ]
        },
        "receipt": {"request": "get", "values": {"owner": "/requester_id"}},
        "output": {
            "fields": [
                {
                    "pointer": "/status",
                    "class": "status",
                    "integrity": "system_of_record",
                    "confidentiality": "customer",
                }
            ]
        },
    }


def put(data: dict[str, Any], path: str, value: object) -> dict[str, Any]:
    """Return a manifest with something put at a path; None takes it out."""
    made = copy.deepcopy(data)
    at: Any = made
    *steps, last = path.split("/")
    for step in steps:
        at = at[int(step)] if step.isdigit() else at.setdefault(step, {})
    if value is None:
        at.pop(last)
    else:
        at[last] = value
    return made


def found(data: dict[str, Any]) -> set[str]:
    tool = parse_manifest(data, name="x")
    return {one.code for one in lint(tool, accepted=read_accepted(data))}


def argument(name: str, schema: dict[str, Any]) -> dict[str, Any]:
    return put(refund(), f"arguments/properties/{name}", schema)


def in_query(schema: dict[str, Any]) -> dict[str, Any]:
    data = put(read(), "arguments/properties/filter", schema)
    return put(data, "egress/requests/0/query", {"q": "{args.filter}"})


def released(pointer: str, **more: str) -> dict[str, Any]:
    field = {**read()["output"]["fields"][0], "pointer": pointer, **more}
    return put(read(), "output/fields", [field])


def state() -> dict[str, Any]:
    """Return the refund as if it changed a state, amount and all."""
    data = put(refund(), "tool/effect", "state")
    return put(put(data, "binding/amount", None), "binding/currency", None)


REQUEST = "egress/requests/0"
CASES: list[tuple[str, dict[str, Any]]] = [
    ("free-path", argument("order_id", {"type": "string", "maxLength": 8})),
    ("free-path", argument("order_id", {"type": "string", "pattern": "[0-9]+"})),
    ("free-path", argument("order_id", {"type": "string", "pattern": "^.{1,9}$"})),
    ("free-path", argument("order_id", {"type": "string", "pattern": "^(a|)$"})),
    ("free-path", argument("order_id", {"type": "string", "pattern": "^[0-9]+$"})),
    ("free-query", in_query({"type": "string", "maxLength": 20})),
    ("unbounded-text", argument("note", {"type": "string"})),
    ("unbounded-list", argument("lines", {"type": "array", "items": dict(ID)})),
    ("unbounded-list", argument("more", {"type": "object"})),
    ("unbounded-list", argument("more", {})),
    ("unread-text", put(refund(), "binding/text", [])),
    ("unbound-object", put(read(), "binding/objects", [])),
    ("unbound-object", argument("other_id", dict(ID))),
    ("hidden-amount", state()),
    ("amount-range", argument("amount_minor_units", {"type": "integer"})),
    (
        "amount-range",
        argument("amount_minor_units", {"type": "integer", "minimum": 1}),
    ),
    (
        "amount-range",
        argument("amount_minor_units", {"type": "integer", "minimum": 0, "maximum": 9}),
    ),
    ("free-currency", argument("currency", {"type": "string", "maxLength": 3})),
    (
        "no-ceiling",
        put(refund(), "binding/objects", [{"pointer": "/order_id", "kind": "order"}]),
    ),
    ("no-ceiling", put(refund(), "receipt/values/paid", None)),
    ("wide-method", put(read(), f"{REQUEST}/method", "POST")),
    (
        "wide-method",
        put(put(refund(), "tool/effect", "answer"), f"{REQUEST}/method", "DELETE"),
    ),
    ("no-refused", put(refund(), f"{REQUEST}/refused", [])),
    ("unsure-refused", put(refund(), f"{REQUEST}/refused", [408, 422])),
    ("unsure-refused", put(refund(), f"{REQUEST}/refused", [500])),
    ("no-key", put(refund(), f"{REQUEST}/idempotency_header", "")),
    ("wide-budget", put(refund(), "egress/requests_max", 2)),
    ("wide-answer", put(read(), "egress/response_bytes_max", ANSWER_BYTES_MAX + 1)),
    ("any-customer", put(read(), "binding", {"needs_customer": False})),
    ("customer-not-asked", put(read(), "binding/objects", [])),
    ("object-not-read", put(refund(), "receipt/values/object", None)),
    ("trusted-text", released("/description")),
    ("trusted-text", released("/comments/*/body")),
    ("trusted-text", released("/x", **{"class": "free_text"})),
    ("secret-released", released("/session/api_token")),
]


@pytest.mark.parametrize(("code", "data"), CASES)
def test_a_rule_finds_what_it_is_for(code, data):
    assert code in found(data)


def test_every_rule_has_a_case_and_stands_on_the_page():
    page = (TOP / "docs" / "connectors.md").read_text("utf-8")
    assert {code for code, _ in CASES} == {*RULES}
    for code in (*RULES, STALE):
        assert f"`{code}`" in page, code


@pytest.mark.parametrize(
    "data",
    [
        refund(),
        read(),
        in_query({"type": "string", "enum": ["open"]}),
        argument("note", {"type": "string", "maxLength": SHORT_TEXT_CHARS_MAX}),
        put(read(), "egress/response_bytes_max", ANSWER_BYTES_MAX),
        released("/description", integrity="third_party"),
    ],
)
def test_what_is_narrow_enough_has_no_finding(data):
    assert found(data) == set()


def test_text_one_character_past_short_is_for_guards_and_approvers():
    long = {"type": "string", "maxLength": SHORT_TEXT_CHARS_MAX + 1}
    assert "unread-text" in found(put(argument("note", long), "binding/text", []))


def test_an_accepted_finding_is_not_reported_and_a_stale_one_is():
    data = put(refund(), f"{REQUEST}/refused", [])
    plain = {"finding": "no-refused", "because": "the upstream documents none"}
    placed = {**plain, "finding": "no-refused:egress.refund.refused"}
    elsewhere = {**plain, "finding": "no-refused:egress.other.refused"}
    assert found({**data, "accepted": [plain]}) == set()
    assert found({**data, "accepted": [placed]}) == set()
    assert found({**data, "accepted": [elsewhere]}) == {"no-refused", STALE}
    assert found({**refund(), "accepted": [plain]}) == {STALE}


def test_a_finding_says_what_is_wrong_and_what_to_do():
    tool = parse_manifest(put(refund(), f"{REQUEST}/refused", []), name="x")
    (one,) = lint(tool, accepted={})
    assert one.tool == "orders.refund"
    assert one.where == "egress.refund.refused"
    assert one.says.startswith("no status")
    assert one.todo == RULES["no-refused"][1]
    assert all(re.fullmatch(r"[a-z-]+", code) for code in RULES)


@pytest.mark.parametrize(
    "path",
    sorted((TOP / "tools" / "catalog").glob("*/*.toml")),
    ids=lambda path: f"{path.parent.name}/{path.stem}",
)
def test_no_tool_of_the_catalogue_is_too_broad(path):
    document, tool = read_manifest(path)
    assert lint(tool, accepted=read_accepted(document)) == ()
