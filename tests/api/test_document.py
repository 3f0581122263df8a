"""The OpenAPI document: valid, complete, and true about problems and examples."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from broker.api.app import create_app
from broker.api.bodies import Body, documented
from broker.api.document.build import operations
from broker.api.document.examples import ANSWERS, REQUESTS
from broker.api.document.refusals import PROBLEM, codes, problem_schema
from broker.api.document.variants import MORE_ANSWERS
from tests.support.identity.shown import difference, examples_in, with_examples

if TYPE_CHECKING:
    from tests.support.door import Door


class NewBody(Body):
    """What a new operation takes."""

    name: str


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    app = create_app(lambda _: None)  # type: ignore[arg-type,return-value]
    return app.openapi()


def test_a_validator_of_others_accepts_it(document: dict[str, Any]) -> None:
    assert document["openapi"].startswith("3.1")
    assert [
        error.message for error in OpenAPIV31SpecValidator(document).iter_errors()
    ] == []


def test_every_operation_says_what_it_does_who_may_and_what_can_go_wrong(
    document: dict[str, Any],
) -> None:
    names = set()
    for method, path, operation in operations(document):
        where = f"{method} {path}"
        assert operation["summary"], where
        assert operation["description"], where
        assert operation["operationId"] not in names, where
        names.add(operation["operationId"])
        open_to_all = path.startswith(
            ("/oauth", "/.well-known", "/v1/interactions", "/v1/notices")
        )
        assert bool(operation["security"]) != open_to_all, where
        for parameter in operation.get("parameters", ()):
            assert parameter.get("description"), f"{where} {parameter['name']}"
        answers = operation["responses"]
        assert any(status < "300" for status in answers), where
        assert "503" in answers, where
        assert open_to_all or {"401", "403"} <= {*answers}, where
        for status, answer in answers.items():
            assert answer["description"], f"{where} {status}"
            if status >= "400":
                [content] = answer["content"].values()
                form = content["schema"]["$ref"].rpartition("/")[2]
                assert document["components"]["schemas"][form]["examples"]
                elsewhere = {"/oauth": "OAuthError", "/mcp": "RpcError"}
                assert form in {"Problem", elsewhere.get("/" + path.split("/")[1])}
    assert "HTTPValidationError" not in str(document)


def test_every_example_belongs_to_an_operation_and_fits_its_schema(
    document: dict[str, Any],
) -> None:
    known = {(method, path): op for method, path, op in operations(document)}
    for (method, path), example in REQUESTS.items():
        [(_, content)] = known[method, path]["requestBody"]["content"].items()
        assert content["example"] == example
        whole = {**content["schema"], "components": document["components"]}
        jsonschema.validate(example, whole)
    for (method, path, status), example in ANSWERS.items():
        [content] = known[method, path]["responses"][status]["content"].values()
        assert example in examples_in(content)
        if status >= "400":
            jsonschema.validate(example, problem_schema())


def without_examples(document: dict[str, Any]) -> list[str]:
    """Return what a reader would have to guess: bodies and answers with no example."""
    missing = []
    for method, path, operation in operations(document):
        bodies = {"request": operation.get("requestBody", {}).get("content", {})}
        for status, answer in operation["responses"].items():
            # Refusals have the examples of their schema.
            if status < "300":
                bodies[status] = answer.get("content", {})
        missing += [
            f"{method} {path}: {what}"
            for what, contents in bodies.items()
            for content in contents.values()
            if not examples_in(content)
        ]
    return missing


def test_every_body_and_every_answer_has_an_example(document: dict[str, Any]) -> None:
    assert without_examples(document) == []
    for where, more in MORE_ANSWERS.items():
        assert where in ANSWERS
        assert more


def test_a_new_operation_without_an_example_is_refused() -> None:
    app = create_app(lambda _: None)  # type: ignore[arg-type,return-value]

    @app.post("/v1/new", openapi_extra=documented(NewBody))
    async def new() -> dict[str, Any]:
        """Do something new."""
        return {}

    assert without_examples(app.openapi())[-2:] == [
        "POST /v1/new: request",
        "POST /v1/new: 200",
    ]
    # It does not pass with an example either until a test compared it, in `make test`.
    assert ("POST", "/v1/actions", "202") in {*with_examples()}


def test_an_answer_of_another_form_than_its_examples_is_told_where_it_differs() -> None:
    one: dict[str, Any] = {
        "a": {"b": [{"c": 1}]},
        "at": "2026-11-26T09:15:00.120000Z",
        "n": None,
    }
    two = {**one, "more": "text"}
    for answer in (one, two, {**one, "n": {"what": "ever"}}, {**one, "a": None}):
        assert difference([one, two], answer) == ""
    wrong: list[tuple[dict[str, Any], str]] = [
        ({**one, "a": {"b": [{"c": 1}, {"c": "1"}]}}, "/a/b[]/c: example is number"),
        ({**one, "a": {"b": [{"d": 1}]}}, "/a/b[]: example has {'c'}"),
        ({"a": one["a"], "at": one["at"]}, "/: example has {'n'}"),
        ({**one, "other": 1}, "answer has {'other'}"),
        ({**one, "at": "2026-11-26T09:15:00Z"}, "moment Z without fraction"),
        ({**one, "a": []}, "/a: example is dict, answer list"),
    ]
    for answer, where in wrong:
        assert where in difference([one, two], answer)
    assert difference([{"a": []}], {"a": [1]}) == "/a: the examples show none"


async def test_a_problem_that_is_answered_has_the_documented_form(door: Door) -> None:
    for path in ("/v1/tools", "/v1/admin/me", "/nowhere"):
        answer = await door.http.get(path)
        assert answer.status_code >= 400
        assert answer.headers["content-type"] == PROBLEM
        jsonschema.validate(answer.json(), problem_schema())
    assert {"denied", "approval-stale", "not-found", "rate-limited"} <= {*codes()}


def test_every_reference_leads_somewhere_and_operations_have_short_names(
    document: dict[str, Any],
) -> None:
    text = json.dumps(document)
    named = {*re.findall(r'"\$ref": "([^"]*)"', text)}
    assert named
    for one in named:
        assert (
            one.removeprefix("#/components/schemas/")
            in (document["components"]["schemas"])
        ), one
    names = {op["operationId"] for _, _, op in operations(document)}
    assert {"ask_for_action", "list_tools", "cast_vote"} <= names
