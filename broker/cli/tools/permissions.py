"""`tools permissions`: what connectors ask for, what is granted, what was used."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from broker.cli.exits import Exit
from broker.cli.signed_in import (
    Desk,
    as_person,
)
from broker.registry.kit.permissions import DAYS_MAX


@as_person
def permissions(
    at: Desk,
    connector: Annotated[str, typer.Argument(help="One connector; else all.")] = "",
    *,
    days: Annotated[
        int, typer.Option(min=1, max=DAYS_MAX, help="How far back uses count.")
    ] = 90,
) -> None:
    """Show per connector what is asked, granted and used, and what could be dropped."""
    found = at.run(lambda person: person.permissions(days))
    if connector:
        found = _only(found, connector)
        if not found["connectors"]:
            at.fail(f"there is no connector {connector!r}", code=Exit.NOT_FOUND)
    at.show(found, lines=_lines(found))


def _only(found: Mapping[str, Any], connector: str) -> dict[str, Any]:
    return {
        **found,
        "connectors": [
            one for one in found["connectors"] if one["connector"] == connector
        ],
        "drop": [one for one in found["drop"] if one["connector"] == connector],
    }


def _lines(found: Mapping[str, Any]) -> list[str]:
    lines = [f"used since {found['since']}"]
    for one in found["connectors"]:
        lines.append(f"\n{one['connector']}")
        for tool in one["tools"]:
            asked = "; ".join(f"{r['method']} {r['path']}" for r in tool["requests"])
            lines.append(f"  {tool['tool']} ({tool['effect']})")
            lines.append(f"    asks     {asked}")
            lines += [
                f"    granted  {agent['name']}, {_used(agent)}"
                for agent in tool["agents"]
            ] or ["    granted  nobody"]
            lines.append(f"    used     {_used(tool)}")
        lines += [
            f"  scope {scope['scope']}: {_used(scope)}" for scope in one["scopes"]
        ]
    lines.append("\ncould be dropped" if found["drop"] else "\nnothing to drop")
    lines += [f"  {drop['why']}: {drop['how']}" for drop in found["drop"]]
    return lines


def _used(row: Mapping[str, Any]) -> str:
    times = "once" if row["uses"] == 1 else f"{row['uses']} times"
    return f"{times}, last {row['last_used']}" if row["uses"] else "never used"
