"""Prove afterwards what happened: export, verify, proof, show, list, recover, agree."""

from __future__ import annotations

import typer

from broker.cli.audit.agreement import agree
from broker.cli.audit.entries import list_, proof, show
from broker.cli.audit.files import export, verify
from broker.cli.audit.recovery import recover

app = typer.Typer(
    name="audit",
    help="Prove afterwards what happened.",
    no_args_is_help=True,
)
for command in (export, verify, proof, show, recover, agree):
    app.command()(command)
app.command("list")(list_)


def register(parent: typer.Typer) -> None:
    """Add these commands as ``audit``."""
    parent.add_typer(app)
