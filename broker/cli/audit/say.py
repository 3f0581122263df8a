"""What all audit commands share: their options, and how they say things."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from broker.cli.audit.source import Keys, SourceError, read_keys
from broker.cli.exits import Exit

CHECKOUT = Path(__file__).resolve().parents[3]
STATE_DEFAULT = CHECKOUT / ".counterfoil"

StateOption = Annotated[
    Path,
    typer.Option(
        "--state",
        envvar="COUNTERFOIL_STATE",
        help="Folder that the stack keeps everything in.",
        show_default=".counterfoil in the checkout",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Write JSON lines.")]


def keys_of(state: Path, *, as_json: bool) -> Keys:
    """Return the state's public keys, or end the command."""
    try:
        return read_keys(state)
    except SourceError as error:
        fail(error, code=Exit.NOT_FOUND, as_json=as_json)


def write_json(value: dict[str, Any]) -> None:
    """Write one JSON line."""
    typer.echo(json.dumps(value, ensure_ascii=False))


def fail(error: Exception, *, code: Exit = Exit.FAILED, as_json: bool) -> NoReturn:
    """Say what went wrong and end the command."""
    hint = getattr(error, "hint", "")
    if as_json:
        write_json({"event": "failed", "error": str(error), "hint": hint})
    else:
        typer.secho(f"error: {error}", fg="red", err=True)
        if hint:
            typer.echo(hint, err=True)
    raise typer.Exit(code)
