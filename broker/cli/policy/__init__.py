"""Write, check and explain the company's policy: a folder of tables and rules."""

from __future__ import annotations

import typer

from broker.cli.policy import checking, explaining, life, rehearsing
from broker.cli.policy.folder import body_of, checked

__all__ = ["app", "body_of", "checked", "register"]

app = typer.Typer(
    name="policy",
    help="The policy: what is allowed, banned, or needs a person.",
    no_args_is_help=True,
)
for module in (checking, explaining, life, rehearsing):
    module.add(app)


def register(parent: typer.Typer) -> None:
    """Add these commands as ``policy``."""
    parent.add_typer(app)
