"""Infer a tool from one operation: what it causes, sends, is held to and releases.

The rules are few, and lean to the narrow side: an optional parameter that could be
anything is left out, text without a length gets one, everything that is no plain GET
changes something unless a person says otherwise. Every guess becomes a question.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from broker.registry.kit.openapi import answers, inputs, names
from broker.registry.kit.openapi.draft import Draft, Imported, Skipped
from broker.registry.kit.openapi.shapes import Notes, strings
from broker.registry.kit.openapi.spec import Spec, SpecError
from broker.registry.tools import (
    SCOPES_MAX,
    TOOL_NAME_LENGTH_MAX,
    ManifestError,
    parse_manifest,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from broker.registry.kit.openapi.spec import Operation

IMPORTED_MAX: Final = 100
"""Operations that one run imports; a person has to confirm each of them."""

_PLACE = re.compile(r"\{([^{}]*)\}")
_NAME = re.compile(r"[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)+")
_SCOPE = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]{1,100}")
_VERB = {"put": "update", "patch": "update", "delete": "delete", "post": "create"}


def import_operations(
    spec: Spec, operations: Iterable[Operation], *, connector: str, taken: set[str]
) -> Imported:
    """Return a draft for every operation that can be one, and why others cannot.

    Args:
        spec: The document that they stand in.
        operations: Those that are wanted; at most IMPORTED_MAX.
        connector: Whose tools they become.
        taken: Names of tools that there are already.
    """
    drafts: list[Draft] = []
    skipped: list[Skipped] = []
    used = set(taken)
    for operation in operations:
        try:
            draft = infer(spec, operation, connector=connector, taken=used)
            _check_loads(draft)
        except (SpecError, ManifestError) as error:
            skipped.append(Skipped(operation.name, str(error)))
            continue
        used.add(draft.name)
        drafts.append(draft)
    return Imported(tuple(drafts), tuple(skipped))


def infer(
    spec: Spec, operation: Operation, *, connector: str, taken: set[str]
) -> Draft:
    """Return the tool that an operation most likely is.

    Raises:
        SpecError: It cannot become one; the text says why.
    """
    spec.begin()
    effect, sure = _effect(operation)
    name = _name(operation, taken)
    said = operation.raw
    title = names.sentence(str(said.get("summary") or "")) or name
    draft = Draft(
        name=name,
        connector=connector,
        title=title,
        description=names.sentence(str(said.get("description") or "")) or title,
        effect=effect,
        method=operation.method.upper(),
        path="",
        operation=operation.name,
        scopes=_scopes(spec, said),
    )
    if not sure:
        draft.ask(
            "effect",
            "tool.effect",
            f"{operation.name} was taken to cause '{effect}'. Is that the most that"
            " it can cause?",
        )
    notes = Notes()
    inputs.read(spec, operation, draft, notes)
    answers.read(spec, operation, draft)
    _ask_of_notes(draft, notes)
    return draft


def _check_loads(draft: Draft) -> None:
    document = draft.document("x")
    del document["review"]
    parse_manifest(document, name=draft.name)


def _effect(operation: Operation) -> tuple[str, bool]:
    """Return the effect, and whether it needs no question."""
    last = _statics(operation.path)[-1:]
    words = " ".join(
        [
            operation.path,
            names.snake(operation.operation_id),
            str(operation.raw.get("summary") or ""),
            *strings(operation.raw.get("tags")),
        ]
    ).lower()
    if operation.method == "get":
        return "read", not any(names.is_verb(word) for word in last)
    if operation.method == "post" and any(names.is_search(word) for word in last):
        return "read", False
    effect = names.effect_of(words)
    if effect == "answer" and operation.method != "post":
        effect = "state"
    return effect, False


def _name(operation: Operation, taken: set[str]) -> str:
    """Return a name of what is touched and what is done: ``tickets.comments.list``."""
    parts = [part for part in operation.path.split("/") if part]
    words = [names.snake(word) for word in _after_customer(parts)]
    words = [word for word in words if not re.fullmatch(r"(api|v\d+|x)", word)]
    whole = bool(parts) and not _PLACE.search(parts[-1])
    if operation.method == "get":
        verb = "list" if whole and _plural(parts[-1]) else "get"
    else:
        verb = _VERB[operation.method]
        if (whole and operation.method == "post" and names.is_verb(parts[-1])) or (
            whole and operation.method == "post" and names.is_search(parts[-1])
        ):
            verb = ""
    name = ".".join([*words, verb] if verb else words)
    if "." not in name:
        name = f"{name or 'root'}.{verb or 'do'}"
    if name in taken and operation.operation_id:
        name = f"{words[0] if words else 'root'}.{names.snake(operation.operation_id)}"
    if name in taken:
        msg = f"a tool is named {name} already"
        raise SpecError(msg)
    if not _NAME.fullmatch(name) or len(name) > TOOL_NAME_LENGTH_MAX:
        msg = f"no tool can be named {name[:80]!r}"
        raise SpecError(msg)
    return name


def _after_customer(parts: list[str]) -> list[str]:
    """Return a path's words without those that only say whose it is."""
    whose = len(parts) > 2 and _PLACE.fullmatch(parts[1])  # noqa: PLR2004
    if whose and names.customer_word(names.singular(parts[0])):
        parts = parts[2:]
    return [part for part in parts if not _PLACE.search(part)]


def _plural(word: str) -> bool:
    return names.singular(word) != names.snake(word)


def _statics(path: str) -> list[str]:
    return [part for part in path.split("/") if part and not _PLACE.search(part)]


def _scopes(spec: Spec, raw: Mapping[str, Any]) -> list[str]:
    """Return the scopes that the document asks of a caller of this operation."""
    security = raw.get("security", spec.document.get("security"))
    found: list[str] = []
    for one in security if isinstance(security, list) else ():
        if isinstance(one, dict):
            for scopes in one.values():
                found.extend(strings(scopes))
    good = [one for one in found if _SCOPE.fullmatch(one)]
    return list(dict.fromkeys(good))[:SCOPES_MAX]


def _ask_of_notes(draft: Draft, notes: Notes) -> None:
    for question_id, where, found, text in (
        (
            "patterns",
            "arguments",
            notes.patterns,
            "These identifiers had no pattern; up to 64 letters, digits, _ and -",
        ),
        (
            "lengths",
            "arguments",
            notes.lengths,
            "These texts had no length, and one was assumed",
        ),
        (
            "fractions",
            "arguments",
            notes.fractions,
            "These had fractions; only integers are sent. Are minor units meant?",
        ),
        (
            "left_out",
            "egress",
            notes.left_out,
            "These were left out, as they could be anything. Are they needed?",
        ),
    ):
        if found:
            listed = ", ".join(list(dict.fromkeys(found))[:40])
            draft.ask(question_id, where, f"{text}: {listed}.")
