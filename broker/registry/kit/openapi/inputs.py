"""Infer what a tool takes and sends: path, query, headers and JSON body."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from broker.registry.kit.openapi import names, shapes
from broker.registry.kit.openapi.spec import Spec, SpecError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from broker.registry.kit.openapi.draft import Draft
    from broker.registry.kit.openapi.shapes import Notes
    from broker.registry.kit.openapi.spec import Operation

ARGUMENTS_MAX: Final = 24
PARAMETERS_MAX: Final = 64
BODY_DEPTH_MAX: Final = 4

_PLACE = re.compile(r"\{([^{}]*)\}")
_KEY_HEADER = re.compile(r"[A-Za-z][A-Za-z0-9-]{0,59}-(Key|Id)")
_JSON = re.compile(r"application/json\b.*")
_HEADERS_OF_OURS = frozenset({"accept", "content-type", "user-agent", "authorization"})


def read(spec: Spec, operation: Operation, draft: Draft, notes: Notes) -> None:
    """Put arguments, templates and bindings into a draft.

    Raises:
        SpecError: It needs what a manifest cannot say.
    """
    parameters = _parameters(spec, operation)
    _path(spec, operation, draft, notes, parameters)
    for (place, name), parameter in parameters.items():
        if place == "query":
            _query(spec, draft, notes, name, parameter)
        elif place == "header":
            _header(draft, name, parameter)
        elif place == "cookie" and parameter.get("required") is True:
            msg = f"it needs the cookie {name!r}, and no cookie is ever sent"
            raise SpecError(msg)
    if operation.method != "get":
        _body(spec, operation, draft, notes)
    _bind(draft)


def _parameters(
    spec: Spec, operation: Operation
) -> dict[tuple[str, str], Mapping[str, Any]]:
    own = operation.raw.get("parameters")
    listed = [*operation.shared, *(own if isinstance(own, list) else [])]
    if len(listed) > PARAMETERS_MAX:
        msg = f"it has more than {PARAMETERS_MAX} parameters"
        raise SpecError(msg)
    found: dict[tuple[str, str], Mapping[str, Any]] = {}
    for one in listed:
        parameter = spec.resolve(one)
        found[str(parameter.get("in")), str(parameter.get("name"))] = parameter
    return found


def _path(
    spec: Spec,
    operation: Operation,
    draft: Draft,
    notes: Notes,
    parameters: Mapping[tuple[str, str], Mapping[str, Any]],
) -> None:
    before = ""
    parts: list[str] = []
    for part in operation.path.strip("/").split("/"):
        match = _PLACE.fullmatch(part)
        if match is None:
            if _PLACE.search(part):
                msg = f"the part {part[:40]!r} of its path is more than one place"
                raise SpecError(msg)
            parts.append(part)
            before = part
            continue
        name = match.group(1)
        kind = _kind(name, before)
        if names.customer_word(kind):
            draft.uses_customer = True
            parts.append("{customer}")
            continue
        schema = _described(spec, parameters.get(("path", name), {}))
        argument = f"{kind}_id" if names.snake(name) in {"id", "uuid"} else name
        made = shapes.narrow(
            spec, schema or {"type": "string"}, name=f"{kind}_id", notes=notes
        )
        if made is None or made["type"] not in {"string", "integer"}:
            msg = f"the place {name!r} in its path is neither text nor an integer"
            raise SpecError(msg)
        added = _add(draft, argument, made, required=True)
        draft.objects.append({"pointer": f"/{added}", "kind": kind})
        parts.append(f"{{args.{added}}}")
    draft.path = "/" + "/".join(parts)


def _described(spec: Spec, parameter: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a parameter's schema with its description, wherever that stands."""
    schema = spec.resolve(parameter.get("schema", {}))
    said = {k: parameter[k] for k in ("description",) if k in parameter}
    return {**said, **schema} if schema else schema


def _kind(name: str, before: str) -> str:
    """Return what kind of object a place names, such as ``ticket``."""
    word = names.snake(name)
    if word in {"id", "uuid", "key", "number"}:
        return names.singular(before) if before else "object"
    return re.sub(r"_(id|uuid|key|number|ref)$", "", word)


def _query(
    spec: Spec,
    draft: Draft,
    notes: Notes,
    name: str,
    parameter: Mapping[str, Any],
) -> None:
    required = parameter.get("required") is True
    if names.customer_word(name):
        draft.uses_customer = True
        draft.query[name] = "{customer}"
        return
    schema = shapes.plain(spec, _described(spec, parameter))
    kind = schema.get("type")
    closed = bool({"enum", "pattern", "const"} & set(schema)) or kind == "integer"
    if not required and not closed:
        notes.left_out.append(name)
        return
    made = shapes.narrow(spec, schema, name=name, notes=notes)
    if made is None or made["type"] not in {"string", "integer"}:
        if required:
            msg = f"the query field {name!r} is neither text nor an integer"
            raise SpecError(msg)
        notes.left_out.append(name)
        return
    draft.query[name] = f"{{args.{_add(draft, name, made, required=required)}}}"


def _header(draft: Draft, name: str, parameter: Mapping[str, Any]) -> None:
    if _KEY_HEADER.fullmatch(name) and "idempot" in name.lower():
        draft.idempotency_header = name
    elif parameter.get("required") is True and name.lower() not in _HEADERS_OF_OURS:
        msg = f"it needs the header {name[:60]!r}, and a manifest cannot send it"
        raise SpecError(msg)


def _body(spec: Spec, operation: Operation, draft: Draft, notes: Notes) -> None:
    if "requestBody" not in operation.raw:
        return
    body = spec.resolve(operation.raw["requestBody"])
    content = body.get("content")
    media = content if isinstance(content, dict) else {}
    for name, one in media.items():
        if _JSON.fullmatch(str(name)):
            node = spec.resolve(one).get("schema", {})
            schema = shapes.required_object(spec, node)
            above = (spec.follow(node)[1],)
            draft.body = _Body(spec, draft, notes).template(schema, (), above)
            return
    msg = f"it sends {', '.join(map(str, media)) or 'no type'}, and manifests send JSON"
    raise SpecError(msg)


@dataclass(frozen=True, slots=True)
class _Body:
    """A body that is read: the document, the draft it goes into, and the notes."""

    spec: Spec
    draft: Draft
    notes: Notes

    def template(
        self, schema: Mapping[str, Any], at: tuple[str, ...], above: shapes.Above
    ) -> dict[str, Any]:
        """Return the template of an object, and add what it takes as arguments.

        Args:
            schema: The object's.
            at: Names of the fields that it stands in, from the outside.
            above: The references that led to it.
        """
        made: dict[str, Any] = {}
        required = set(shapes.strings(schema.get("required")))
        for name, node in schema.get("properties", {}).items():
            inner = shapes.plain(self.spec, node)
            if inner.get("readOnly") is True:
                continue
            here = (*at, str(name))
            value = self._value(node, here, above, required=name in required)
            if value is not None:
                made[str(name)] = value
            elif name in required:
                msg = f"the field {name!r} of its body could be anything"
                raise SpecError(msg)
            else:
                self.notes.left_out.append(".".join(here))
        return made

    def _value(
        self, node: object, at: tuple[str, ...], above: shapes.Above, *, required: bool
    ) -> object:
        """Return the template for one field of a body, or None to leave it out."""
        reference = self.spec.follow(node)[1]
        again = bool(reference) and reference in above
        above = (*above, reference)
        schema = shapes.plain(self.spec, node)
        deep = len(at) >= BODY_DEPTH_MAX and schema.get("type") == "object"
        if again or deep:
            return None
        if schema.get("type") == "object":
            return self.template(schema, at, above) or None
        if names.customer_word(at[-1]) and names.is_id(at[-1]):
            self.draft.uses_customer = True
            return "{customer}"
        if names.is_reference(at[-1]) and schema.get("type") == "string":
            return "{action}"
        only = [schema["const"]] if "const" in schema else schema.get("enum")
        if isinstance(only, list) and len(only) == 1 and required:
            return only[0]
        return self._argument(schema, at, above, required=required)

    def _argument(
        self,
        schema: Mapping[str, Any],
        at: tuple[str, ...],
        above: shapes.Above,
        *,
        required: bool,
    ) -> str | None:
        made = shapes.narrow(
            self.spec, schema, name=at[-1], notes=self.notes, above=above
        )
        if made is None or len(self.draft.properties) >= ARGUMENTS_MAX:
            return None
        taken = names.snake(at[-1]) in self.draft.properties
        wanted = "_".join(at) if taken else at[-1]
        return f"{{args.{_add(self.draft, wanted, made, required=required)}}}"


def _add(draft: Draft, name: str, schema: dict[str, Any], *, required: bool) -> str:
    added = names.snake(name)
    if added in draft.properties:
        msg = f"two of its fields are named {added!r}"
        raise SpecError(msg)
    if len(draft.properties) >= ARGUMENTS_MAX:
        msg = f"it takes more than {ARGUMENTS_MAX} arguments"
        raise SpecError(msg)
    draft.properties[added] = schema
    if required:
        draft.required.append(added)
    return added


def _bind(draft: Draft) -> None:
    """Find amount, currency, texts and objects among the arguments."""
    bound = {one["pointer"] for one in draft.objects}
    for name, schema in draft.properties.items():
        pointer = f"/{name}"
        kind = schema.get("type")
        if names.is_id(name) and pointer not in bound and "enum" not in schema:
            draft.objects.append({"pointer": pointer, "kind": _kind(name, name)})
        elif kind == "string" and not {"enum", "pattern"} & set(schema):
            draft.text.append(pointer)
        elif kind == "integer" and names.is_amount(name) and not draft.amount:
            draft.amount = pointer
        if name == "currency":
            draft.currency = pointer
    if draft.effect != "money" and draft.amount and draft.effectful:
        draft.effect = "money"
    if draft.effect == "money":
        _money(draft)
    elif draft.amount or draft.currency:
        draft.amount = draft.currency = ""
    if draft.objects:
        listed = ", ".join(f"{o['pointer'][1:]} ({o['kind']})" for o in draft.objects)
        draft.ask(
            "objects",
            "binding.objects",
            "These must have been shown in the interaction before they can be named."
            f" Are the kinds those that other tools show? {listed}.",
        )


def _money(draft: Draft) -> None:
    if not draft.amount or not draft.currency:
        # Without both nothing can be reserved or limited. What pays without saying how
        # much is written by hand, with an amount to hold it to.
        msg = "it moves money, and its body has no integer amount with a currency"
        raise SpecError(msg)
    amount = draft.properties[draft.amount[1:]]
    if "enum" not in amount:
        amount["minimum"] = max(1, amount["minimum"])
    for pointer in (draft.amount, draft.currency):
        if pointer[1:] not in draft.required:
            draft.required.append(pointer[1:])
    draft.ask(
        "amount",
        "binding.amount",
        f"{draft.amount[1:]} in {draft.currency[1:]} is what is reserved and limited."
        " Is it in minor units, and is it all that moves?",
    )
