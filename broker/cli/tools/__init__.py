"""Tools from the command line: look at manifests, make them, try them, confirm them."""

import typer

from broker.cli.tools import importing, look, making, permissions, trial

app = typer.Typer(
    name="tools", help="Tools: what agents may call.", no_args_is_help=True
)
app.command("list")(look.list_)
app.command()(look.show)
app.command()(look.check)
app.command()(making.new)
app.command("test")(trial.run)
app.command("import")(importing.import_)
app.command()(importing.confirm)
app.command()(permissions.permissions)


def register(parent: typer.Typer) -> None:
    """Add these commands as ``tools``."""
    parent.add_typer(app)
