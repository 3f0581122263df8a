"""Infer what is read from an answer: outcome, owner, amounts, what is released."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from broker.registry.kit.openapi import names, shapes
from broker.registry.kit.openapi.draft import LIST_RESULT
from broker.registry.kit.openapi.spec import Spec, SpecError

if TYPE_CHECKING:
    from broker.registry.kit.openapi.draft import Draft
    from broker.registry.kit.openapi.shapes import Leaf
    from broker.registry.kit.openapi.spec import Operation

STATUSES_MAX: Final = 16

_JSON = re.compile(r"application/(json|[a-z0-9.+-]+\+json)\b.*")
_DONE = range(200, 300)
# What an upstream documents as its refusal; 408 and 425 say nothing of what happened.
_REFUSED = frozenset(
    {400, 401, 402, 403, 404, 405, 406, 409, 410, 412, 413, 415, 422, 428, 429}
)
_PAID = re.compile(r"(^|_)(paid|captured|received)(_|$)")
_FREE_TEXT: Final = "free_text"


def read(spec: Spec, operation: Operation, draft: Draft) -> None:
    """Put statuses, receipt values and released fields into a draft.

    Raises:
        SpecError: Nothing can be read of the answer that the tool must be held to.
    """
    responses = operation.raw.get("responses")
    if not isinstance(responses, dict):
        msg = "it has no responses"
        raise SpecError(msg)
    statuses = {
        int(one): node
        for one, node in responses.items()
        if isinstance(one, str) and re.fullmatch(r"[1-5][0-9]{2}", one)
    }
    draft.done = sorted(one for one in statuses if one in _DONE)[:STATUSES_MAX]
    if not draft.done:
        msg = "it documents no status from 200 to 299"
        raise SpecError(msg)
    draft.refused = sorted(one for one in statuses if one in _REFUSED)[:STATUSES_MAX]
    schema = _schema(spec, statuses[draft.done[0]])
    found: list[Leaf] = []
    whole = True
    if schema is None:
        draft.answers_nothing = True
    else:
        draft.answers_list = shapes.plain(spec, schema).get("type") == "array"
        found, whole = shapes.leaves(spec, schema, parent=_resource(operation.path))
    _receipt(draft, operation, [leaf for leaf in found if not leaf.in_list])
    _output(draft, found, whole=whole)
    _ask(draft)


def _schema(spec: Spec, node: object) -> object:
    content = spec.resolve(node).get("content")
    for name, media in content.items() if isinstance(content, dict) else ():
        if _JSON.fullmatch(str(name)):
            schema = spec.resolve(media).get("schema")
            if schema is not None:
                return schema
    return None


def _resource(path: str) -> str:
    """Return what an answer of this path is about, such as ``ticket``."""
    words = [one for one in path.split("/") if one and "{" not in one]
    while words and names.is_verb(words[-1]):
        words.pop()
    return names.singular(words[-1]) if words else "object"


def _receipt(draft: Draft, operation: Operation, found: list[Leaf]) -> None:
    values = draft.receipt
    owner = _owner(operation, found)
    if owner:
        values["owner"] = owner
    kinds = [one["kind"] for one in draft.objects]
    for leaf in found:
        word = names.snake(leaf.name)
        kind = leaf.parent if word == "id" else re.sub(r"_id$", "", word)
        if kind in kinds[:1] and names.is_id(word) and leaf.pointer != owner:
            values.setdefault("object", leaf.pointer)
        if leaf.schema.get("type") == "integer" and _PAID.search(word):
            values.setdefault("paid", leaf.pointer)
        elif leaf.schema.get("type") == "integer" and names.is_amount(word):
            values.setdefault("amount", leaf.pointer)
        if word in {"currency", "status", "state"}:
            values.setdefault(
                "currency" if word == "currency" else "status", leaf.pointer
            )
    if draft.effect == "money" and not {"amount", "currency"} <= set(values):
        msg = "it moves money, and its answer does not say how much of which currency"
        raise SpecError(msg)
    if draft.effect == "money" and "paid" in values and draft.objects:
        draft.objects[0]["cap"] = "paid"
    draft.needs_customer = bool(owner)
    if draft.uses_customer and not owner:
        msg = "it names the customer, and its answer does not say whose record it was"
        raise SpecError(msg)


def _owner(operation: Operation, found: list[Leaf]) -> str:
    """Return where the answer says whose record this is, the shallowest place first."""
    own = bool(names.customer_word(_resource(operation.path)))
    for leaf in found:
        word = names.snake(leaf.name)
        if names.is_id(word) and names.customer_word(word):
            return leaf.pointer
        if word == "id" and names.customer_word(leaf.parent) and own:
            return leaf.pointer
    return ""


def _output(draft: Draft, found: list[Leaf], *, whole: bool) -> None:
    hidden: list[str] = []
    texts: list[str] = []
    for leaf in found:
        if names.is_secret(leaf.name):
            hidden.append(leaf.pointer)
            continue
        if names.is_id(word := names.snake(leaf.name)) and names.customer_word(word):
            # Whose record it is, is for the receipt: agents know their customer as the
            # interaction's, and never by the upstream's id.
            continue
        data_class = _class(leaf)
        if data_class == _FREE_TEXT:
            texts.append(leaf.pointer)
        field: dict[str, Any] = {
            "pointer": f"/{LIST_RESULT}{leaf.pointer}"
            if draft.answers_list
            else leaf.pointer,
            "class": data_class,
            "integrity": "third_party"
            if data_class == _FREE_TEXT
            else "system_of_record",
            "confidentiality": "customer" if draft.needs_customer else "internal",
        }
        shows = _shows(leaf)
        if shows:
            field["shows"] = shows
        draft.fields.append(field)
    if not whole:
        hidden.append("whatever is deeper")
    if draft.fields:
        draft.ask(
            "released",
            "output",
            f"{len(draft.fields)} fields are released to the agent. Does it need all of"
            " them, and may it see them?",
        )
    if texts:
        draft.ask(
            "texts",
            "output",
            "These were taken for text that somebody wrote (third_party), all others"
            f" for the system's own. Is that so? {', '.join(texts[:20])}",
        )
    if hidden:
        listed = ", ".join(hidden[:20])
        draft.ask("hidden", "output", f"These are not released: {listed}.")


def _class(leaf: Leaf) -> str:
    schema = leaf.schema
    if names.is_text(leaf.name):
        return _FREE_TEXT
    known = names.class_of(leaf.name)
    if schema.get("type") in {"integer", "boolean"}:
        return known or "status"
    if {"enum", "const"} & set(schema):
        return known if known in {"amount", "identifier"} else "status"
    if schema.get("format") in {"date", "date-time"}:
        return "timestamp"
    # A name that says nothing may hold anything; who can write it is not known.
    return known if known not in {"", "status"} else _FREE_TEXT


def _shows(leaf: Leaf) -> str:
    word = names.snake(leaf.name)
    if word == "id":
        return "" if names.customer_word(leaf.parent) else leaf.parent
    if word.endswith("_id") and not names.customer_word(word):
        return word.removesuffix("_id")
    return ""


def _ask(draft: Draft) -> None:
    if draft.needs_customer:
        draft.ask(
            "owner",
            "receipt.values.owner",
            f"{draft.receipt['owner']} was taken for the customer's id. Is it the same"
            " id as the interaction's customer has?",
        )
    else:
        draft.ask(
            "owner",
            "binding.needs_customer",
            "Nothing in the answer says whose record this is, so it is open to every"
            " interaction. Is nothing in it, and nothing that it does, a customer's?",
        )
    if not draft.effectful:
        return
    refused = ", ".join(str(one) for one in draft.refused) or "no status"
    draft.ask(
        "refused",
        "egress.requests.refused",
        f"{refused} is taken to say that nothing happened. Is that so for each?",
    )
    if draft.idempotency_header:
        draft.ask(
            "key",
            "egress.requests.idempotency_kept_s",
            f"How many seconds is {draft.idempotency_header} kept? 0 was assumed, so"
            " nothing is ever sent twice.",
        )
    else:
        draft.ask(
            "key",
            "egress.requests.idempotency_header",
            "The document names no idempotency header. Is there really none?",
        )
    if draft.effect == "money":
        draft.ask(
            "ceiling",
            "binding.objects",
            "What bounds all amounts ever moved on one object? 'paid' is taken if the"
            " answer has it.",
        )
