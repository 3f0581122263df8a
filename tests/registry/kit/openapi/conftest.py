"""Small API descriptions, and what becomes of them."""

from __future__ import annotations

from typing import Any

from broker.core.words.tool import Tool
from broker.registry.kit.openapi.draft import Draft, Imported
from broker.registry.kit.openapi.infer import import_operations
from broker.registry.kit.openapi.spec import Spec
from broker.registry.tools import parse_manifest

TEXT = {"type": "string"}
WHOLE = {"type": "integer"}


def described(paths: dict[str, Any], **components: Any) -> dict[str, Any]:
    return {
        "openapi": "3.1.0",
        "info": {"title": "x", "version": "1"},
        "paths": paths,
        "components": components,
    }


def of(properties: dict[str, Any], *required: str) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": [*required]}


def media(schema: Any) -> dict[str, Any]:
    return {"content": {"application/json": {"schema": schema}}}


def operation(
    answer: Any = None,
    *,
    status: str = "200",
    body: Any = None,
    parameters: Any = (),
    **more: Any,
) -> dict[str, Any]:
    """Return an operation that answers a customer's order, unless told otherwise."""
    plain = of({"customer_id": TEXT, "order_id": TEXT, "status": TEXT})
    made: dict[str, Any] = {
        "parameters": [*parameters],
        "responses": {status: media(plain if answer is None else answer)},
        **more,
    }
    if body is not None:
        made["requestBody"] = media(body)
    return made


def imported(paths: dict[str, Any], **components: Any) -> Imported:
    spec = Spec(described(paths, **components))
    return import_operations(spec, spec.operations(), connector="shop", taken=set())


def one(path: str, method: str = "get", /, **given: Any) -> Draft:
    """Import one operation, which must work."""
    made = imported({path: {method: operation(**given)}})
    assert made.skipped == ()
    (draft,) = made.drafts
    return draft


def why(path: str, method: str = "get", /, **given: Any) -> str:
    """Import one operation, which must not work; return why."""
    made = imported({path: {method: operation(**given)}})
    assert made.drafts == ()
    (skipped,) = made.skipped
    return skipped.why


def loaded(draft: Draft) -> Tool:
    """Return the tool that a draft is once somebody confirmed it."""
    document = draft.document("x")
    del document["review"]
    return parse_manifest(document, name=draft.name)


def asked(draft: Draft) -> set[str]:
    return {question["id"] for question in draft.questions}
