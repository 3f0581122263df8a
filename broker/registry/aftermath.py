"""What a manifest says of afterwards: how to find out, and how to take it back.

[receipt.find] names one element of a list, [reconcile] the reading tool by which the
upstream is asked whether an action happened, [undo] the tool that takes it back.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from broker.core.warrants.template import places
from broker.core.words.tool import Find, Reconcile, Undo
from broker.registry.fields import POINTER, integer, only, text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from broker.core.words.tool import Binding, ReceiptPointers, Tool

ABSENT_AFTER_S_MAX: Final = 86_400
MAPPED_MAX: Final = 32
"""Most arguments that [reconcile] or [undo] gives to the other tool."""

FOUND, MORE = "found", "more"
"""The receipt's own values about a list: how many, and whether it goes on."""

_TOOL = re.compile(r"[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)+")
_ARGUMENT = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
_UNDO_PLACE = re.compile(r"\{(args|receipt)\.([A-Za-z_][A-Za-z0-9_]{0,63})\}")


def read_find(receipt: Mapping[str, Any], schema: Mapping[str, Any]) -> Find | None:
    """Return what [receipt.find] says, None if there is none.

    Raises:
        ValueError: A pointer is malformed, or it compares with no required argument.
    """
    raw = receipt.get("find")
    if raw is None:
        return None
    only(raw, {"list", "mark", "argument", "more"}, "[receipt.find]")
    if {FOUND, MORE} & {*receipt.get("values", {})}:
        msg = f"receipt.values {FOUND!r} and {MORE!r} are what [receipt.find] gives"
        raise ValueError(msg)
    if raw["argument"] not in schema.get("required", ()):
        msg = "receipt.find.argument names a required argument"
        raise ValueError(msg)
    return Find(
        list=text(raw["list"], "receipt.find.list", POINTER, empty=True),
        mark=text(raw["mark"], "receipt.find.mark", POINTER),
        argument=raw["argument"],
        more=text(raw.get("more", ""), "receipt.find.more", POINTER, empty=True),
    )


def read_reconcile(
    raw: Mapping[str, Any] | None, binding: Binding, schema: Mapping[str, Any]
) -> Reconcile | None:
    """Return what [reconcile] says, None if there is none.

    Raises:
        ValueError: A field is malformed, or a place names what no decision gives.
    """
    if raw is None:
        return None
    only(raw, {"tool", "arguments", "absent_after_s"}, "[reconcile]")
    mapped = _mapped(raw, "[reconcile]")
    known = {f"args.{name}" for name in schema.get("required", ())} | {"action"}
    known |= {"customer"} if binding.needs_customer else set()
    for name, template in mapped.items():
        used = places(template)
        if set(used) - known or (used and f"{{{used[0]}}}" != template):
            msg = f"reconcile.arguments.{name} is one place of what is always decided"
            raise ValueError(msg)
    return Reconcile(
        tool=text(raw["tool"], "reconcile.tool", _TOOL),
        arguments=mapped,
        absent_after_s=integer(
            raw.get("absent_after_s", 0),
            "reconcile.absent_after_s",
            low=0,
            high=ABSENT_AFTER_S_MAX,
        ),
    )


def read_undo(
    raw: Mapping[str, Any] | None, receipt: ReceiptPointers, schema: Mapping[str, Any]
) -> Undo | None:
    """Return what [undo] says, None if there is none.

    Raises:
        ValueError: A field is malformed, or a place names no argument or receipt value.
    """
    if raw is None:
        return None
    only(raw, {"tool", "arguments"}, "[undo]")
    mapped = _mapped(raw, "[undo]")
    known = {("args", name) for name in schema.get("properties", {})}
    known |= {("receipt", name) for name in receipt.values}
    for name, template in mapped.items():
        place = _UNDO_PLACE.fullmatch(template)
        if "{" in template and (place is None or place.groups() not in known):
            msg = f"undo.arguments.{name} names no argument and no receipt value"
            raise ValueError(msg)
    return Undo(tool=text(raw["tool"], "undo.tool", _TOOL), arguments=mapped)


def check_aftermath(tool: Tool, *, reads: bool) -> None:
    """Refuse what cannot be meant.

    Raises:
        ValueError: A read has something to reconcile or to undo, or finds for effects.
    """
    if reads and (tool.reconcile or tool.undo):
        msg = "what only reads has nothing to reconcile and nothing to undo"
        raise ValueError(msg)
    if not reads and tool.receipt.find is not None:
        msg = "[receipt.find] is for tools that read"
        raise ValueError(msg)


def _mapped(raw: Mapping[str, Any], where: str) -> dict[str, str]:
    found = raw.get("arguments", {})
    if not isinstance(found, dict) or len(found) > MAPPED_MAX:
        msg = f"{where} arguments is a table of at most {MAPPED_MAX}"
        raise ValueError(msg)
    for name, template in found.items():
        text(name, f"an argument in {where}", _ARGUMENT)
        if not isinstance(template, str):
            msg = f"{where} arguments.{name} is a text"
            raise TypeError(msg)
    return dict(found)
