"""Put the `counterfoil` command together from its command modules."""

import importlib
from importlib.util import find_spec

import typer

OPERATE = "broker.cli.operate"
OPERATE_COMMANDS = ("up", "down", "status", "logs", "reset", "doctor", "completion")
COMMAND_MODULES: dict[str, tuple[str, ...]] = {
    OPERATE: OPERATE_COMMANDS,
    "broker.cli.registry.agents": ("agents",),
    "broker.cli.registry.agent_keys": ("agents",),
    "broker.cli.registry.timeline": ("agents",),
    "broker.cli.registry.delegations": ("agents",),
    "broker.cli.registry.federations": ("agents",),
    "broker.cli.registry.people": (
        "people",
        "console",
    ),
    "broker.cli.registry.people_changes": (
        "people",
        "console",
    ),
    "broker.cli.registry.first": (
        "people",
        "console",
    ),
    "broker.cli.registry.channels": ("channels",),
    "broker.cli.registry.changes": ("changes",),
    "broker.cli.registry.use_cases": ("use-cases",),
    "broker.cli.registry.signing_keys": ("keys",),
    "broker.cli.registry.kill_switch": ("kill-switch",),
    "broker.cli.registry.notifications": ("notifications",),
    "broker.cli.registry.canaries": ("canaries",),
    "broker.cli.policy": ("policy",),
    "broker.cli.tools": ("tools",),
    "broker.cli.approvals": ("approvals",),
    "broker.cli.sharing": ("approvals",),
    "broker.cli.unknowns": (
        "approvals",
        "actions",
    ),
    "broker.cli.codec": ("codec",),
    "broker.cli.limits.standing": ("standing",),
    "broker.cli.limits.budgets": ("budgets",),
    "broker.cli.audit": ("audit",),
    "broker.cli.edge": ("edge",),
    "broker.cli.connect": ("connect",),
    "broker.cli.demo": (
        "demo",
        "conversation",
        "token",
    ),
}
"""Modules with commands, in the order of the help: what has ``register(app)`` adds.

Each with the first words of what it adds to: a command loads no other module.
"""


def make_app(command: str = "") -> typer.Typer:
    """Return the command with its subcommands.

    For one that is named only its modules are loaded: all of them take a second to
    import, and what the supervisor imports stays in memory as long as the stack runs.
    """
    app = typer.Typer(
        name="counterfoil",
        help="Put AI agents to work on customers' accounts without handing them a key.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
    )
    # Without it, typer would take one command alone for the whole.
    app.callback()(lambda: None)
    named = [name for name, words in COMMAND_MODULES.items() if command in words]
    for name in named or COMMAND_MODULES:
        if find_spec(name) is not None:
            add = getattr(importlib.import_module(name), "register", None)
            if add is not None:
                add(app)
    return app
