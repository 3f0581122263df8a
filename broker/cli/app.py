"""Put the `counterfoil` command together from its command modules."""

import importlib
from importlib.util import find_spec

import typer

COMMAND_MODULES = [
    "broker.cli.operate",
    "broker.cli.agents",
    "broker.cli.people",
    "broker.cli.approvals",
    "broker.cli.audit",
    "broker.cli.demo",
]
"""Modules with commands, in the order of the help; each has ``register(app)``."""


def make_app() -> typer.Typer:
    """Return the command with all its subcommands."""
    app = typer.Typer(
        name="counterfoil",
        help="Put AI agents to work on customers' accounts without handing them a key.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
    )
    for name in COMMAND_MODULES:
        if find_spec(name) is not None:
            importlib.import_module(name).register(app)
    return app
