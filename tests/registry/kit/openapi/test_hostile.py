"""Descriptions that were made to hurt whoever imports them."""

from __future__ import annotations

import ast
import tomllib
from typing import Any

import pytest
import tomlkit

from broker.registry import patterns
from broker.registry.kit.openapi import shapes, spec
from broker.registry.kit.openapi.code import PROSE_CHARS_MAX, connector_code
from broker.registry.kit.openapi.names import SENTENCE_CHARS_MAX
from broker.registry.kit.openapi.spec import Spec, SpecError
from broker.registry.tools import TOOL_NAME_LENGTH_MAX
from tests.registry.kit.openapi.conftest import (
    TEXT,
    described,
    imported,
    of,
    one,
    operation,
    why,
)


def ref(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}


def skipped(schemas: dict[str, Any], *, body: bool = False) -> str:
    """Import an operation that answers, or takes, the schema A; return why not."""
    made = operation(body=ref("A")) if body else operation(answer=ref("A"))
    found = imported({"/orders/{id}/do": {"post": made}}, schemas=schemas)
    return found.skipped[0].why if found.skipped else ""


@pytest.mark.parametrize("body", [True, False])
@pytest.mark.parametrize(
    "schemas",
    [
        {"A": ref("A")},
        {"A": ref("B"), "B": ref("A")},
        {"A": {"allOf": [ref("A")]}},
        {"A": {"allOf": [ref("B")]}, "B": {"anyOf": [ref("A")]}},
        {"A": {"oneOf": [ref("A"), {"type": "null"}]}},
    ],
)
def test_a_schema_made_of_itself_is_refused(schemas, body):
    assert "itself" in skipped(schemas, body=body)


def test_a_schema_inside_itself_is_cut_where_it_comes_again():
    tree = of({"n": TEXT, "child": ref("A"), "all": {"items": ref("A")}})
    tree["properties"]["all"]["type"] = "array"
    made = operation(answer=ref("A"), body=ref("A"))
    (draft,) = imported({"/a": {"post": made}}, schemas={"A": tree}).drafts
    assert [field["pointer"] for field in draft.fields] == ["/n"]
    assert len(str(draft.body)) < 2_000


def test_schemas_that_triple_at_every_step_end_at_an_allowance():
    schemas: dict[str, Any] = {
        f"S{n}": of({name: ref(f"S{n + 1}") for name in "xyz"}) for n in range(40)
    }
    schemas |= {"S40": of({"z": TEXT}), "A": ref("S0")}
    refused = f"it refers to more than {spec.NODES_MAX} schemas"
    assert skipped(schemas) == refused
    taken = of({"l": {"type": "array", "items": ref("S0")}})
    assert skipped({**schemas, "A": taken}, body=True) == refused


def test_the_allowance_holds_at_the_limit_and_one_past_it():
    document = Spec(described({}, schemas={"A": TEXT}))
    for _ in range(spec.NODES_MAX):
        document.resolve(ref("A"))
    with pytest.raises(SpecError, match="more than"):
        document.resolve(ref("A"))
    document.begin()
    assert document.resolve(ref("A")) == TEXT


def test_references_in_a_row_hold_at_the_limit_and_one_past_it():
    chain: dict[str, Any] = {f"R{n}": ref(f"R{n + 1}") for n in range(40)}
    chain["R40"] = TEXT
    document = Spec(described({}, schemas=chain))
    assert document.resolve(ref(f"R{42 - spec.REFERENCES_MAX}")) == TEXT
    with pytest.raises(SpecError, match="itself"):
        document.resolve(ref(f"R{41 - spec.REFERENCES_MAX}"))


@pytest.mark.parametrize(
    "reference",
    [
        "https://example.com/api.yaml#/X",
        "file:///etc/passwd",
        "/etc/passwd",
        "other.json",
        "#",
        "",
    ],
)
def test_a_remote_reference_is_never_fetched(reference):
    answer = {"$ref": reference}
    assert "is remote; it is not fetched" in why("/a", answer=answer)


def test_operations_of_a_document_have_a_limit():
    def paths(count: int) -> dict[str, Any]:
        return {f"/p{n}": {"get": {}} for n in range(count)}

    at_limit = Spec(described(paths(spec.OPERATIONS_MAX)))
    assert sum(1 for _ in at_limit.operations()) == spec.OPERATIONS_MAX
    past = Spec(described(paths(spec.OPERATIONS_MAX + 1)))
    with pytest.raises(SpecError, match="operations"):
        list(past.operations())


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"openapi": 3.1},
        {"swagger": "2.0", "paths": {}},
        {"openapi": "4.0.0", "paths": {}},
        {"openapi": "3.1.0"},
        {"openapi": "3.1.0", "paths": []},
        {"openapi": "3.1.0", "paths": {"/a": []}},
        {"openapi": "3.1.0", "paths": {"/a": {"get": "x"}}},
    ],
)
def test_what_is_no_description_says_so(document):
    with pytest.raises(SpecError):
        list(Spec(document).operations())


def test_limits_of_a_schema_hold_at_the_limit_and_one_past_it():
    def text(**more: Any) -> dict[str, Any]:
        draft = one("/a", "post", body=of({"note": {**TEXT, **more}}))
        return dict(draft.properties.get("note", {}))

    most = shapes.STATED_CHARS_MAX
    assert text(maxLength=most)["maxLength"] == most
    assert text(maxLength=most + 1)["maxLength"] == most
    assert text(minLength=most)["minLength"] == most
    assert "minLength" not in text(minLength=most + 1)
    assert text()["maxLength"] == shapes.TEXT_CHARS_MAX
    pattern = "^" + "a" * (patterns.PATTERN_CHARS_MAX - 2) + "$"
    assert text(pattern=pattern)["pattern"] == pattern
    assert "pattern" not in text(pattern=f"^a{pattern[1:]}")
    enum = [f"e{n}" for n in range(shapes.ENUM_MAX)]
    assert text(enum=enum)["enum"] == enum
    assert "enum" not in text(enum=[*enum, "more"])
    said = "s" * (SENTENCE_CHARS_MAX + 1)
    assert text(description=said)["description"] == said[:-1]
    word = one("/a", "post", body=of({"colour": TEXT})).properties["colour"]
    assert word["maxLength"] == shapes.WORD_CHARS_MAX


def test_lists_and_integers_get_the_limits_that_they_lack():
    body = of({"tags": {"type": "array", "items": TEXT}, "count": {"type": "integer"}})
    made = one("/a", "post", body=body).properties
    assert made["tags"]["maxItems"] == shapes.ITEMS_MAX
    assert made["count"]["maximum"] == shapes.INTEGER_MAX
    more = {"type": "array", "items": TEXT, "maxItems": shapes.ITEMS_MAX + 1}
    tags = one("/a", "post", body=of({"tags": more})).properties["tags"]
    assert tags["maxItems"] == shapes.ITEMS_MAX


def test_depth_is_cut_at_the_limit():
    def nested(depth: int) -> dict[str, Any]:
        inner: dict[str, Any] = {"type": "array", "items": {"type": "boolean"}}
        for _ in range(depth - 1):
            inner = {"type": "array", "items": inner}
        return inner

    at = one("/a", "post", body=of({"list": nested(spec.SCHEMA_DEPTH_MAX - 2)}))
    assert "list" in at.properties
    past = one("/a", "post", body=of({"list": nested(spec.SCHEMA_DEPTH_MAX - 1)}))
    assert "list" not in past.properties


def test_words_of_the_description_cannot_break_out_of_the_code_or_the_file():
    evil = '"""\nimport os\nos.system("x")\n# \x1b[2J\\'
    path = f"/a/{{x{evil}}}"
    body = of({evil: {**TEXT, "maxLength": 9}, "k": {"const": evil}}, "k")
    made = imported(
        {path: {"put": operation(summary=evil, description=evil, body=body)}}
    )
    assert made.skipped == ()
    (draft,) = made.drafts
    assert draft.title == '"""'
    tree = ast.parse(connector_code(evil, made.drafts))
    assert [type(node) for node in tree.body] == [
        ast.Expr,
        ast.ImportFrom,
        ast.FunctionDef,
    ]
    assert not [node for node in ast.walk(tree) if isinstance(node, ast.Import)]
    document = draft.document(evil)
    assert tomllib.loads(tomlkit.dumps(document)) == document


def test_names_and_titles_are_cut_or_refused_at_their_limits():
    code = connector_code("t" * (PROSE_CHARS_MAX + 1), [one("/a")])
    assert f"to {'t' * PROSE_CHARS_MAX}:" in code
    at_limit = "a" * (TOOL_NAME_LENGTH_MAX - len(".get"))
    assert len(one(f"/{at_limit}").name) == TOOL_NAME_LENGTH_MAX
    assert "no tool can be named" in why(f"/a{at_limit}")
