"""Check and test a policy folder before anybody publishes it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from broker.cli.exits import Exit
from broker.cli.policy.folder import checked
from broker.cli.signed_in import JsonOption
from broker.effects.shelf import CatalogShelf
from broker.registry.appetite.checks import Checked
from broker.registry.appetite.given import Result
from broker.registry.policy.cedar_text import PolicyError
from broker.registry.tools import ManifestError

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
_WIDTH = 120


def add(parent: typer.Typer) -> None:
    """Add these commands."""
    parent.command()(check)
    parent.command("test")(run_tests)


def check(
    folder: FolderArgument,
    *,
    catalog: CatalogOption = CATALOG,
    as_json: JsonOption = False,
) -> None:
    """Compile a policy, validate it strictly, and run its tests."""
    found = checked_or_end(folder, catalog, as_json=as_json)
    failed = [result for result in found.results if result.problem]

    def tier(scope: str) -> str:
        return str(int(found.tiers[scope]))

    tables = [
        {
            "scope": table.scope,
            "owner": table.owner,
            "file": table.file,
            "rows": len(table.rows),
            "tier": int(found.tiers[table.scope]),
        }
        for table in found.folder.tables
    ]
    summary: dict[str, Any] = {
        "event": "checked",
        "passed": found.passed,
        "rules": len(found.book.rules),
        "rates": len(found.rates),
        "budgets": len(found.budgets),
        "tables": tables,
        "tests": len(found.results),
        "failed": [_json(result) for result in failed],
    }
    if as_json:
        typer.echo(json.dumps(summary))
    else:
        _print(
            ["table", "answers for it", "rows", "reaches tier"],
            [
                [table.scope, table.owner, str(len(table.rows)), tier(table.scope)]
                for table in found.folder.tables
            ],
        )
        typer.echo(
            f"{len(found.book.rules)} rules, {len(found.rates)} rates,"
            f" {len(found.budgets)} budgets and totals: valid"
        )
        _verdict(found.results)
    raise typer.Exit(Exit.OK if found.passed else Exit.FAILED)


def run_tests(
    folder: FolderArgument,
    *,
    catalog: CatalogOption = CATALOG,
    as_json: JsonOption = False,
) -> None:
    """Run the tests of a policy, and show what came out of each."""
    found = checked_or_end(folder, catalog, as_json=as_json)
    if as_json:
        for result in found.results:
            typer.echo(json.dumps(_json(result)))
    else:
        rows = [
            [
                "failed" if result.problem else "ok",
                result.name,
                result.word,
                ", ".join(sorted({r.clause for r in result.reasons} - {""})),
                result.problem,
            ]
            for result in found.results
        ]
        _print(["", "test", "decision", "clauses", "problem"], rows)
        _verdict(found.results)
    raise typer.Exit(Exit.OK if found.passed else Exit.FAILED)


def checked_or_end(folder: Path, catalog: Path, *, as_json: bool) -> Checked:
    """Return a folder that may be published, or end the command."""
    try:
        return checked(folder, CatalogShelf(catalog).tools())
    except (PolicyError, ManifestError) as error:
        fail(str(error), as_json=as_json)


def fail(error: str, *, hint: str = "", as_json: bool) -> NoReturn:
    """Say what is wrong with the policy, and end the command."""
    if as_json:
        typer.echo(json.dumps({"event": "failed", "error": error, "hint": hint}))
    else:
        typer.secho(f"error: {error}", fg="red", err=True)
        if hint:
            typer.echo(hint, err=True)
    raise typer.Exit(Exit.FAILED)


def _json(result: Result) -> dict[str, Any]:
    return {
        "test": result.name,
        "passed": not result.problem,
        "decision": result.word,
        "reasons": [
            {"code": r.code, "rule": r.rule, "clause": r.clause, "text": r.text}
            for r in result.reasons
        ],
        "problem": result.problem,
    }


def _verdict(results: tuple[Result, ...]) -> None:
    failed = [result for result in results if result.problem]
    for result in failed:
        typer.secho(f"failed: {result.name}: {result.problem}", fg="red")
    typer.echo(f"{len(results) - len(failed)} of {len(results)} tests passed")


def _print(columns: list[str], rows: list[list[str]]) -> None:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in columns:
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    Console(highlight=False, width=_WIDTH).print(table)
