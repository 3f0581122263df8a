"""Put the `counterfoil` command together from its command modules."""

import importlib
from importlib.util import find_spec

import typer

OPERATE = "broker.cli.operate"
OPERATE_COMMANDS = ("up", "down", "status", "logs", "reset", "doctor", "completion")
COMMAND_MODULES = [
    OPERATE,
    "broker.cli.registry.agents",
    "broker.cli.registry.agent_keys",
    "broker.cli.registry.timeline",
    "broker.cli.registry.delegations",
    "broker.cli.registry.federations",
    "broker.cli.registry.people",
    "broker.cli.registry.people_changes",
    "broker.cli.registry.first",
    "broker.cli.registry.channels",
    "broker.cli.registry.changes",
    "broker.cli.registry.use_cases",
    "broker.cli.registry.signing_keys",
    "broker.cli.registry.kill_switch",
    "broker.cli.registry.notifications",
    "broker.cli.registry.canaries",
    "broker.cli.policy",
    "broker.cli.tools",
    "broker.cli.approvals",
    "broker.cli.sharing",
    "broker.cli.unknowns",
    "broker.cli.codec",
    "broker.cli.limits.standing",
    "broker.cli.limits.budgets",
    "broker.cli.audit",
    "broker.cli.edge",
    "broker.cli.connect",
    "broker.cli.demo",
]
"""Modules with commands, in the order of the help: what has ``register(app)`` adds."""


def make_app(command: str = "") -> typer.Typer:
    """Return the command with its subcommands.

    For one that operates the stack only those are loaded: what the supervisor imports
    stays in memory as long as the stack runs.
    """
    app = typer.Typer(
        name="counterfoil",
        help="Put AI agents to work on customers' accounts without handing them a key.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
    )
    modules = [OPERATE] if command in OPERATE_COMMANDS else COMMAND_MODULES
    for name in modules:
        if find_spec(name) is not None:
            add = getattr(importlib.import_module(name), "register", None)
            if add is not None:
                add(app)
    return app
