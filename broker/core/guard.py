"""Stage 4, guard: look at what the arguments carry, and where they came from.

Each guard is a function from an inspection to findings; together they give a verdict.
A finding about customer or object blocks; a finding about provenance or content holds
the action for a person. A new guard joins by being put into the chain.

Arguments are validated against the manifest's schema before anything is derived from
them (``bind``): an amount that does not parse cannot be limited.

Source: DESIGN, chapters 2 and 3 (invariants 7 and 8).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, TypeAlias, assert_never

from jsonschema import Draft202012Validator, ValidationError, validators

from broker.core.words.action import Bound
from broker.core.words.decision import Finding, FindingKind, Verdict, VerdictWord
from broker.core.words.errors import InvalidError
from broker.core.words.labels import Integrity
from broker.core.words.money import AMOUNT_MINOR_UNITS_MAX, Money
from broker.core.words.tool import PATTERNED_CHARS_MAX

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from jsonschema.protocols import Validator

    from broker.core.words.tool import Tool

FINDINGS_MAX = 32
_VALIDATORS_KEPT = 256


@dataclass(frozen=True, slots=True)
class Origin:
    """One place in this interaction where an argument's value was seen before.

    ``source`` names it for people: a tool with a pointer, or the speaker of a turn.
    """

    integrity: Integrity
    source: str


@dataclass(frozen=True, slots=True)
class Inspection:
    """What guards look at.

    ``shown`` are the (kind, id) pairs of objects that the broker released in this
    interaction; ``origins`` maps a pointer into the arguments to every place where
    exactly this value, or a text that contains it, was seen.
    """

    tool: Tool
    arguments: Mapping[str, Any]
    bound: Bound
    customer_bound: bool
    shown: frozenset[tuple[str, str]]
    origins: Mapping[str, tuple[Origin, ...]]


Guard: TypeAlias = Callable[[Inspection], tuple[Finding, ...]]


def bind(tool: Tool, arguments: Mapping[str, Any]) -> Bound:
    """Validate the arguments and derive what limits and bindings need from them.

    Raises:
        InvalidError: an argument is missing, unknown, of the wrong type or out of
            range; ``pointer`` names it.
    """
    error = next(iter(_validator(_Schema(tool)).iter_errors(dict(arguments))), None)
    if error is not None:
        pointer = "".join(f"/{part}" for part in error.absolute_path)
        msg = f"argument {pointer or '/'}: {_shown(error)}"
        raise InvalidError(
            msg,
            pointer=f"/arguments{pointer}",
            hint=f"GET /v1/tools has the schema of {tool.name}.",
        )
    amount = None
    if tool.binding.amount:
        units = value_at(arguments, tool.binding.amount)
        if type(units) is not int or not 0 < units <= AMOUNT_MINOR_UNITS_MAX:
            msg = "the amount must be a positive whole number of minor units"
            raise InvalidError(msg, pointer=f"/arguments{tool.binding.amount}")
        amount = Money(units, str(value_at(arguments, tool.binding.currency)))
    objects = tuple(
        (binding.kind, str(value))
        for binding in tool.binding.objects
        for _, value in values_at(arguments, binding.pointer)
    )
    return Bound(amount=amount, objects=objects)


def inspect(inspection: Inspection, chain: tuple[Guard, ...]) -> Verdict:
    """Run every guard; the strictest finding decides the verdict."""
    findings = tuple(f for guard in chain for f in guard(inspection))[:FINDINGS_MAX]
    words = {word_for(finding.kind) for finding in findings}
    for word in (VerdictWord.BLOCK, VerdictWord.HOLD):
        if word in words:
            return Verdict(word, findings)
    return Verdict(VerdictWord.CLEAN, findings)


def word_for(kind: FindingKind) -> VerdictWord:
    """Return what a finding of this kind leads to."""
    match kind:
        case FindingKind.SCHEMA | FindingKind.CUSTOMER | FindingKind.OBJECT:
            return VerdictWord.BLOCK
        case FindingKind.PROVENANCE | FindingKind.CONTENT:
            return VerdictWord.HOLD
        case _:
            assert_never(kind)


def check_customer(inspection: Inspection) -> tuple[Finding, ...]:
    """Refuse a tool that works on a customer while none is bound."""
    if inspection.tool.binding.needs_customer and not inspection.customer_bound:
        text = "no customer is bound to this interaction yet"
        return (Finding(FindingKind.CUSTOMER, "customer_not_bound", "", text),)
    return ()


def check_objects(inspection: Inspection) -> tuple[Finding, ...]:
    """Refuse objects that were not shown here: unknown and foreign look the same."""
    return tuple(
        Finding(
            FindingKind.OBJECT,
            "object_not_shown",
            pointer,
            f"this {binding.kind} was not shown in this interaction",
        )
        for binding in inspection.tool.binding.objects
        for pointer, value in values_at(inspection.arguments, binding.pointer)
        if (binding.kind, str(value)) not in inspection.shown
    )


_WRITTEN_BY: Final = {
    Integrity.MODEL_AUTHORED: "what a model wrote",
    Integrity.THIRD_PARTY: "what anybody may have written",
    Integrity.UNVERIFIED_CUSTOMER: "the word of a customer whom nobody verified",
    Integrity.VERIFIED_CUSTOMER: "the word of the verified customer",
    Integrity.SYSTEM_OF_RECORD: "the system of record",
    Integrity.APPROVED_POLICY: "an approved policy",
}
"""Labels as approvers read them."""


def check_provenance(inspection: Inspection) -> tuple[Finding, ...]:
    """Hold arguments whose best origin is below what the manifest demands."""
    findings = []
    places = [
        (pointer, rule.integrity)
        for rule in inspection.tool.binding.provenance
        for pointer, _ in values_at(inspection.arguments, rule.pointer)
    ]
    for pointer, least in places:
        best = max(
            inspection.origins.get(pointer, ()),
            key=lambda origin: origin.integrity,
            default=Origin(Integrity.MODEL_AUTHORED, "no source in this interaction"),
        )
        if best.integrity < least:
            findings.append(
                Finding(
                    FindingKind.PROVENANCE,
                    "tainted_argument",
                    pointer,
                    f"comes from {best.source}: {_WRITTEN_BY[best.integrity]}; "
                    f"needed is {_WRITTEN_BY[least]}",
                    origin=best.source,
                )
            )
    return tuple(findings)


CHAIN: tuple[Guard, ...] = (check_customer, check_objects, check_provenance)


def values_at(
    arguments: Mapping[str, Any], pointer: str
) -> tuple[tuple[str, Any], ...]:
    """Return (pointer, value) of what is bound there: each element of a list alone."""
    value = value_at(arguments, pointer)
    if isinstance(value, list):
        return tuple((f"{pointer}/{at}", one) for at, one in enumerate(value))
    return () if value is None else ((pointer, value),)


def value_at(arguments: Mapping[str, Any], pointer: str) -> Any:  # noqa: ANN401
    """Return the value at a JSON pointer, or None. Source: RFC 6901."""
    value: Any = arguments
    for part in pointer.split("/")[1:]:
        key = part.replace("~1", "/").replace("~0", "~")
        if not isinstance(value, dict) or key not in value:
            return None
        value = value[key]
    return value


class _Schema:
    """A key for the validator cache: equal digests have equal schemas."""

    __slots__ = ("arguments", "digest")

    def __init__(self, tool: Tool) -> None:
        self.digest = tool.digest
        self.arguments = tool.arguments

    def __hash__(self) -> int:
        return hash(self.digest)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Schema) and self.digest == other.digest


def _is_integer(_checker: object, instance: object) -> bool:
    """Accept int only: JSON Schema would also take 1.0, and Python True."""
    return type(instance) is int


def _pattern(
    _validator: object, pattern: str, instance: object, schema: Mapping[str, Any]
) -> Iterator[ValidationError]:
    """Try a pattern on no longer text than it was counted for when it was loaded."""
    if not isinstance(instance, str):
        return
    most = schema.get("maxLength", PATTERNED_CHARS_MAX)
    if len(instance) > most or not re.search(pattern, instance):
        yield ValidationError(f"does not match {pattern}")


_Strict = validators.extend(  # type: ignore[no-untyped-call]
    Draft202012Validator,
    validators={"pattern": _pattern},
    type_checker=Draft202012Validator.TYPE_CHECKER.redefine("integer", _is_integer),
)


@lru_cache(maxsize=_VALIDATORS_KEPT)
def _validator(schema: _Schema) -> Validator:
    validator: Validator = _Strict(dict(schema.arguments))
    return validator


def _shown(error: Any) -> str:  # noqa: ANN401
    """Say what is wrong without repeating the value, which may be personal data."""
    allowed = error.validator_value
    match error.validator:
        case "required":
            missing = sorted(set(allowed) - set(error.instance))
            return f"{', '.join(missing)} is missing"
        case "additionalProperties":
            return "an argument that this tool does not take"
        case "type":
            return f"must be of type {allowed}"
        case "minimum" | "maximum" | "minLength" | "maxLength" | "pattern" | "enum":
            return f"must satisfy {error.validator} {allowed}"
        case other:
            return f"does not satisfy {other}"
