"""Say which objects an agent can ever name: those that a call it can make shows it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from broker.core.words.tool import Tool
    from broker.registry.kit.rules_in import Told


def kinds_shown(tools: Iterable[Tool]) -> frozenset[str]:
    """Return the kinds of object that some order of calls can show.

    A tool counts once all that its required arguments name can have been shown: one
    that shows only what it has to be given shows nothing new. What the broker alone
    reads (`[receipt.find]`) shows nobody anything.
    """
    waiting = [tool for tool in tools if tool.receipt.find is None]
    shown: set[str] = set()
    while True:
        left = [tool for tool in waiting if not _demanded(tool) <= shown]
        if len(left) == len(waiting):
            return frozenset(shown)
        waiting, able = left, [tool for tool in waiting if _demanded(tool) <= shown]
        shown |= {one.shows for tool in able for one in tool.output if one.shows}


def never_shown(tool: Tool, shown: Collection[str]) -> Iterator[Told]:
    """Find arguments that name an object which no tool ever shows: always denied."""
    if tool.receipt.find is not None:
        return
    for one in tool.binding.objects:
        if one.kind not in shown:
            yield (
                f"arguments.{_argument(one.pointer)}",
                f"names a {one.kind}, which no tool shows: a call with it is denied",
            )


def _demanded(tool: Tool) -> set[str]:
    required = tool.arguments.get("required", ())
    return {
        one.kind for one in tool.binding.objects if _argument(one.pointer) in required
    }


def _argument(pointer: str) -> str:
    return pointer.split("/")[1]
