"""Begin a tool: a manifest that loads once a person filled in what it marks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from broker.registry.kit.openapi.draft import Draft

if TYPE_CHECKING:
    from collections.abc import Mapping

_KEY: Final = "Idempotency-Key"
_REQUESTS: Final[Mapping[str, tuple[str, str, int]]] = {
    "read": ("GET", "/things/{args.thing_id}", 200),
    "draft": ("GET", "/things/{args.thing_id}", 200),
    "answer": ("POST", "/customers/{customer}/messages", 201),
    "state": ("POST", "/things/{args.thing_id}/close", 200),
    "money": ("POST", "/things/{args.thing_id}/refunds", 201),
    "identity": ("POST", "/customers/{customer}/reset", 200),
    "entitlement": ("POST", "/customers/{customer}/grants", 201),
}
EFFECTS: Final = tuple(_REQUESTS)


_LISTED: Final = ("GET", "/customers/{customer}/things", 200)


def skeleton(*, name: str, connector: str, effect: str, lists: bool = False) -> Draft:
    """Return the beginning of a tool with this effect.

    It is narrow as it stands, and what has to be filled in is asked in its review.

    Args:
        name: Of the tool, with dots.
        connector: Its folder.
        effect: One of EFFECTS.
        lists: A read that takes nothing and shows the customer's things, so that other
            tools can name them.
    """
    method, path, done = _LISTED if lists else _REQUESTS[effect]
    draft = Draft(
        name=name,
        connector=connector,
        title=f"TITLE of {name}",
        description="What it does, for agents and for people who approve it.",
        effect=effect,
        method=method,
        path=path,
        operation=f"{method} {path}",
        needs_customer=True,
        done=[done],
        refused=[404] if effect in {"read", "draft"} else [404, 409, 422],
        receipt={"owner": "/customer_id"},
    )
    if "{args.thing_id}" in path:
        _thing(draft)
    if draft.effectful:
        draft.idempotency_header = _KEY
        draft.body = {"reference": "{action}"}
    if effect == "answer":
        _argument(draft, "text", {"type": "string", "minLength": 1, "maxLength": 2000})
        draft.text.append("/text")
    if effect == "money":
        _money(draft)
    if lists:
        _field(draft, "/things/*/thing_id", "identifier")
        draft.fields[0]["shows"] = "thing"
    _field(draft, "/things/*/status" if lists else "/status", "status")
    _ask(draft)
    return draft


def _field(draft: Draft, pointer: str, data_class: str) -> None:
    draft.fields.append(
        {
            "pointer": pointer,
            "class": data_class,
            "integrity": "system_of_record",
            "confidentiality": "customer",
        }
    )


def _thing(draft: Draft) -> None:
    draft.properties["thing_id"] = {"type": "string", "pattern": "^[A-Z0-9-]{1,20}$"}
    draft.required.append("thing_id")
    draft.objects.append({"pointer": "/thing_id", "kind": "thing"})
    draft.receipt["object"] = "/thing_id"


def _argument(draft: Draft, name: str, schema: dict[str, Any]) -> None:
    draft.properties[name] = schema
    draft.required.append(name)
    assert draft.body is not None  # noqa: S101 (an effectful tool has one)
    draft.body[name] = f"{{args.{name}}}"


def _money(draft: Draft) -> None:
    amount = {"type": "integer", "minimum": 1, "maximum": 1_000_000}
    _argument(draft, "amount_minor_units", amount)
    _argument(draft, "currency", {"type": "string", "enum": ["EUR"]})
    draft.amount, draft.currency = "/amount_minor_units", "/currency"
    draft.objects[0]["cap"] = "paid"
    draft.receipt |= {
        "amount": "/amount_minor_units",
        "currency": "/currency",
        "paid": "/paid_minor_units",
    }


def _ask(draft: Draft) -> None:
    asked = [
        ("words", "tool.title", "Do title and description say what it does?"),
        (
            "request",
            "egress.requests",
            "Are method, path, query, body and statuses those of the upstream?",
        ),
        (
            "arguments",
            "arguments",
            "Is each as narrow as the upstream is, and every object's id bound?",
        ),
        (
            "owner",
            "receipt.values",
            "Do they lead to whose record it was, and to what really happened?",
        ),
        (
            "released",
            "output",
            "Is every field released that the agent needs, and none beside it?",
        ),
    ]
    if draft.effectful:
        asked.append(
            (
                "key",
                "egress.requests.idempotency_kept_s",
                "Does the upstream honour the key, and for how many seconds?",
            )
        )
    for question_id, field, question in asked:
        draft.ask(question_id, field, question)
