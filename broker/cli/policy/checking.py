"""Check a policy folder before anybody publishes it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from broker.cli.exits import Exit
from broker.cli.policy.folder import body_of
from broker.cli.signed_in import JsonOption
from broker.effects.shelf import CatalogShelf
from broker.registry.policies import PolicyError, limits_of, rule_book

CATALOG = Path(__file__).resolve().parents[3] / "tools" / "catalog"

FolderArgument = Annotated[Path, typer.Argument(help="Folder of the policy.")]
CatalogOption = Annotated[
    Path,
    typer.Option(
        "--catalog",
        help="Folder of the tools' manifests.",
        show_default="tools/catalog in the checkout",
    ),
]


def add(parent: typer.Typer) -> None:
    """Add these commands."""
    parent.command()(check)


def check(
    folder: FolderArgument,
    *,
    catalog: CatalogOption = CATALOG,
    as_json: JsonOption = False,
) -> None:
    """Compile the folder and validate it strictly against the tools' manifests."""
    try:
        body = body_of(folder)
        limits_of(body)
        book = rule_book({"version": 1, **body}, CatalogShelf(catalog).tools())
    except PolicyError as error:
        _fail(str(error), as_json=as_json)
    found: dict[str, Any] = {
        "event": "checked",
        "rules": len(book.rules),
        "files": sorted(body["sources"]),
    }
    if as_json:
        typer.echo(json.dumps(found))
        return
    typer.echo(f"{folder}: {len(book.rules)} rules, valid")


def _fail(error: str, *, as_json: bool) -> NoReturn:
    if as_json:
        typer.echo(json.dumps({"event": "failed", "error": error}))
    else:
        typer.secho(f"error: {error}", fg="red", err=True)
    raise typer.Exit(Exit.FAILED)
