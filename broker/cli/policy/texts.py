"""Two policies side by side: what differs, by name and line by line."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator, Mapping
from typing import Any

from broker.cli.approvals import printable
from broker.registry.policy.versions import changes


def difference(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """Return what differs between two contents, as names and as a unified diff."""
    before, after = _files(old), _files(new)
    lines: list[str] = []
    for name in sorted({*before, *after}):
        lines += difflib.unified_diff(
            before.get(name, "").splitlines(),
            after.get(name, "").splitlines(),
            fromfile=name,
            tofile=name,
            lineterm="",
            n=2,
        )
    return {"changes": changes(old, new), "diff": lines}


def change_lines(found: Mapping[str, Any]) -> Iterator[str]:
    """Yield what changes, by the names of rules and limits."""
    named = 0
    for kind in ("rules", "rates", "budgets"):
        for word in ("added", "removed", "changed"):
            for name in found[kind][word]:
                named += 1
                yield printable(f"{word:<8} {kind[:-1]} {name}")
    for name in found["other"]:
        named += 1
        yield printable(f"changed  {name}")
    if not named:
        yield "nothing that decides changes"


def diff_lines(found: Mapping[str, Any]) -> Iterator[str]:
    """Yield the names, then the lines."""
    yield from change_lines(found["changes"])
    for line in found["diff"]:
        yield printable(line)


def _files(content: Mapping[str, Any]) -> dict[str, str]:
    """Return what a content was made from; without sources, what decides."""
    sources = content.get("sources")
    if isinstance(sources, dict) and sources:
        return {str(name): str(text) for name, text in sources.items()}
    rest = {name: content[name] for name in sorted(content) if name != "cedar"}
    return {
        "rules.cedar": str(content.get("cedar", "")),
        "limits.json": json.dumps(rest, indent=1, sort_keys=True),
    }
