"""The OpenAPI document: valid, complete, and true about problems and examples."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from broker.api.app import create_app
from broker.api.document.build import PROBLEM, codes, operations, problem_schema
from broker.api.document.examples import ANSWERS, REQUESTS

if TYPE_CHECKING:
    from tests.support.door import Door


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
                assert PROBLEM in answer["content"], f"{where} {status}"
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
        assert content["example"] == example
        if status >= "400":
            jsonschema.validate(example, problem_schema())


GOVERNED = (
    "/v1/policy",
    "/v1/admin/kill-switch",
    "/v1/admin/budgets",
    "/v1/admin/limits",
    "/v1/admin/reservations",
    "/v1/admin/standing",
)
SPOKEN_ELSEWHERE = {"/mcp", "/oauth/introspect"}
"""Their bodies are those of the Model Context Protocol and of RFC 7662."""


def test_every_json_body_has_an_example_and_what_is_governed_shows_its_answers(
    document: dict[str, Any],
) -> None:
    missing = []
    for method, path, operation in operations(document):
        asks = "requestBody" in operation and path not in SPOKEN_ELSEWHERE
        if asks and (method, path) not in REQUESTS:
            missing.append(f"{method} {path}: no request")
        answered = {status for *where, status in ANSWERS if where == [method, path]}
        shows = path.startswith(GOVERNED)
        if shows and not any(status < "300" for status in answered):
            missing.append(f"{method} {path}: no answer")
    assert missing == []


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
