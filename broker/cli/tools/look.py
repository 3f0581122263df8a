"""`tools list`, `show` and `check`: what there is, what it may do, what is wrong."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from broker.cli.exits import Exit
from broker.cli.signed_in import Desk, JsonOption
from broker.cli.tools.catalogue import (
    CATALOG_DEFAULT,
    CatalogOption,
    Entry,
    manifests,
    read_catalogue,
)
from broker.registry.tools import manifest_digest

DIGEST_CHARS_SHOWN = 12


def list_(
    *, catalog: CatalogOption = CATALOG_DEFAULT, as_json: JsonOption = False
) -> None:
    """List every tool: effect, tier, connector, digest, and who confirmed it."""
    desk = Desk(as_json=as_json)
    rows = [_row(entry) for entry in _entries(desk, catalog)]
    desk.table(
        rows,
        {
            "name": lambda row: row["name"],
            "version": lambda row: str(row["version"]),
            "effect": lambda row: row["effect"],
            "tier": lambda row: str(row["tier"]),
            "connector": lambda row: row["connector"],
            "digest": lambda row: row["digest"][:DIGEST_CHARS_SHOWN],
            "confirmed": lambda row: row["confirmed"],
            "": lambda row: "" if row["loads"] else "does not load",
        },
    )


def show(
    tool: Annotated[str, typer.Argument(help="Name of a tool, like orders.refund.")],
    *,
    catalog: CatalogOption = CATALOG_DEFAULT,
    as_json: JsonOption = False,
) -> None:
    """Show one tool: what it takes, may send, is held to, and releases."""
    desk = Desk(as_json=as_json)
    entry = find(desk, catalog, tool)
    document = {**_row(entry), "manifest": entry.document, "errors": [*entry.errors]}
    desk.show(document, lines=lines_of(entry))


def check(
    path: Annotated[
        Path,
        typer.Argument(
            envvar="COUNTERFOIL_CATALOG",
            help="A catalogue, a connector's folder, or a manifest.",
            show_default="tools/catalog in the checkout",
        ),
    ] = CATALOG_DEFAULT,
    *,
    as_json: JsonOption = False,
) -> None:
    """Load manifests as the broker does, and say where they are too broad.

    Ends with 1 if one does not load or has a finding that it does not accept.
    """
    desk = Desk(as_json=as_json)
    entries = _entries(desk, path)
    for entry in entries:
        _report(entry, as_json=as_json)
    bad = sum(not entry.good for entry in entries)
    if as_json:
        typer.echo(json.dumps({"manifests": len(entries), "bad": bad}))
    else:
        typer.echo(f"{len(entries)} manifests, {bad} to look at")
    if bad:
        raise typer.Exit(Exit.FAILED)


def find(desk: Desk, catalog: Path, name: str) -> Entry:
    """Return the entry of a tool by its name, or end the command."""
    entries = _entries(desk, catalog)
    found = [e for e in entries if e.document.get("tool", {}).get("name") == name]
    if not found:
        desk.fail(
            f"there is no tool {name!r} in {catalog}",
            hint="`counterfoil tools list` shows what there is",
            code=Exit.NOT_FOUND,
        )
    return found[0]


def _entries(desk: Desk, place: Path) -> list[Entry]:
    if not manifests(place):
        desk.fail(f"there are no manifests in {place}", code=Exit.NOT_FOUND)
    return list(read_catalogue(place))


def _row(entry: Entry) -> dict[str, Any]:
    tool = entry.tool
    named = entry.document.get("tool", {})
    return {
        "name": tool.name if tool else str(named.get("name", entry.path.stem)),
        "version": tool.version if tool else 0,
        "effect": tool.effect.value if tool else "",
        "tier": int(tool.tier) if tool else 0,
        "connector": entry.path.parent.name,
        "digest": manifest_digest(entry.document) if entry.document else "",
        "confirmed": _confirmed(entry),
        "loads": not entry.errors,
        "file": str(entry.path),
    }


def _confirmed(entry: Entry) -> str:
    review = entry.review
    if review is None:
        return "" if entry.tool is None else "written by hand"
    if not review.digest:
        return f"no, {len(review.open)} open questions"
    return f"{review.by}, {review.at}"


def _report(entry: Entry, *, as_json: bool) -> None:
    if as_json:
        findings = [
            {"code": one.code, "where": one.where, "says": one.says, "todo": one.todo}
            for one in entry.findings
        ]
        typer.echo(
            json.dumps(
                {
                    "file": str(entry.path),
                    "errors": [*entry.errors],
                    "findings": findings,
                }
            )
        )
        return
    for error in entry.errors:
        typer.echo(f"{entry.path}: error: {error}")
    for one in entry.findings:
        typer.echo(f"{entry.path}: {one.code}: {one.where} {one.says}; {one.todo}")


def lines_of(entry: Entry) -> list[str]:
    """Return what a tool is and may do, as people read it."""
    tool = entry.tool
    if tool is None:
        return [f"file       {entry.path}", *(f"error      {e}" for e in entry.errors)]
    binding = tool.binding
    held = {
        "customer": "of the interaction" if binding.needs_customer else "not needed",
        "amount": binding.amount.removeprefix("/"),
        "currency": binding.currency.removeprefix("/"),
        "objects": ", ".join(
            f"{one.pointer.removeprefix('/')} ({one.kind})" for one in binding.objects
        ),
    }
    lines = [
        f"tool       {tool.name} version {tool.version}: {tool.title}",
        f"effect     {tool.effect.value}, tier {int(tool.tier)}",
        f"connector  {tool.connector}, {tool.entry}()",
        f"digest     {tool.digest if entry.review is None else _row(entry)['digest']}",
        f"confirmed  {_confirmed(entry)}",
        *(f"{name:10} {value}" for name, value in held.items() if value),
    ]
    for request in tool.requests:
        extra = ", effectful" if request.effectful else ""
        lines.append(f"sends      {request.method} {request.path}{extra}")
        lines.extend(_parts(request.query, "query"))
        lines.extend(_parts(request.body or {}, "body"))
    lines.extend(
        f"receipt    {name} from {pointer}"
        for name, pointer in tool.receipt.values.items()
    )
    lines.extend(
        f"releases   {field.pointer} ({field.data_class}, {field.label.integrity.word})"
        for field in tool.output
    )
    return [*lines, *(f"error      {error}" for error in entry.errors)]


def _parts(template: Mapping[str, Any], what: str) -> list[str]:
    return [
        f"             {what} {name} = {json.dumps(value)}"
        for name, value in template.items()
    ]
