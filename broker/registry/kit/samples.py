"""Make up an answer that an upstream could give, from what a manifest reads of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

    from broker.core.words.tool import Tool

AMOUNT: Final = 1_000
_BY_CLASS: Final[Mapping[str, Any]] = {
    "amount": AMOUNT,
    "contact": "somebody@example.com",
    "name": "Somebody",
    "timestamp": "2026-01-01T00:00:00Z",
    "free_text": "Somebody's text.",
}


def sample_answer(
    tool: Tool, arguments: Mapping[str, Any], *, customer: str
) -> dict[str, Any]:
    """Return an answer in which every pointer of the manifest finds something.

    Receipt values take what was decided: the customer, amount, currency and object.
    """
    made: dict[str, Any] = {}
    for field in tool.output:
        _put(made, field.pointer, _BY_CLASS.get(field.data_class, field.data_class))
    binding = tool.binding
    decided = {
        "owner": customer or "customer-1",
        "amount": arguments.get(binding.amount.removeprefix("/"), AMOUNT),
        "currency": arguments.get(binding.currency.removeprefix("/"), "EUR"),
        "paid": AMOUNT * 1_000,
    }
    if binding.objects:
        first = binding.objects[0].pointer.removeprefix("/")
        decided["object"] = arguments.get(first, "object-1")
    for name, pointer in tool.receipt.values.items():
        _put(made, pointer, decided.get(name, name))
    return made


def sample_arguments(schema: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the required arguments, or None if one of them cannot be made up."""
    made: dict[str, Any] = {}
    for name in schema.get("required", ()):
        value = _sample(schema.get("properties", {}).get(name, {}))
        if value is None:
            return None
        made[name] = value
    return made


def _sample(schema: Mapping[str, Any]) -> Any:  # noqa: ANN401
    if schema.get("enum"):
        return schema["enum"][0]
    if "const" in schema:
        return schema["const"]
    match schema.get("type"):
        case "integer":
            return schema.get("minimum", 1)
        case "boolean":
            return True
        case "string" if "pattern" not in schema:
            made = "text".ljust(schema.get("minLength", 1), "x")
            return made[: schema.get("maxLength")]
        case _:
            return None


def _put(made: dict[str, Any], pointer: str, value: object) -> None:
    """Put a value where a pointer leads; ``*`` is the one element of a list."""
    at: Any = made
    parts = [
        part.replace("~1", "/").replace("~0", "~") for part in pointer.split("/")[1:]
    ]
    for part, following in zip(parts, [*parts[1:], ""], strict=True):
        last = following == ""
        empty: Any = value if last else ([] if following == "*" else {})
        if isinstance(at, list):
            if not at:
                at.append(empty)
            at = at[0]
        elif isinstance(at, dict):
            if last or part not in at:
                at[part] = empty
            at = at[part]
        else:
            return
