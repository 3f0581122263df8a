"""Become the edge's own command: what it does with secrets happens in no other process.

The edge holds the credentials, so the edge's program handles them, with the edge's
settings and under the edge's user. This finds the settings and gets out of the way.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from broker.cli.exits import Exit
from broker.cli.signed_in import Desk, as_person
from broker.cli.stack.environment import ENVIRONMENT, TENANT, catalog
from broker.cli.stack.environment import socket_database_url as database_at
from broker.cli.stack.planning.given import as_role
from broker.cli.stack.servers import accounts
from broker.cli.stack.state import MARKER, STATE_DEFAULT, StateError, read_stamp

if TYPE_CHECKING:
    from broker.client.person import PersonClient

URL = "COUNTERFOIL_DATABASE_URL"
PASSWORD_FILE = "COUNTERFOIL_DATABASE_PASSWORD_FILE"  # noqa: S105  (a name)
_PASSED_ON = (
    "PATH",
    "HOME",
    "LANG",
    "LC_ALL",
    "TZ",
    "TERM",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "PYTHONPATH",
)
_HELP = (
    "Add, list, rotate, test, switch, roll back and remove upstream credentials. "
    "Run it as the edge's user on the edge's host."
)


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    edge = typer.Typer(help="The edge's credentials.", no_args_is_help=True)
    # What follows is the edge's to read, its --help as well.
    edge.command(
        "credentials",
        help=_HELP,
        context_settings={
            "allow_extra_args": True,
            "ignore_unknown_options": True,
            "help_option_names": [],
        },
    )(credentials)
    edge.command()(order)
    app.add_typer(edge, name="edge")


@as_person
def order(
    at: Desk,
    *,
    connector: Annotated[str, typer.Option(help="Whose credential is tried.")],
    version: Annotated[int, typer.Option(help="Which version of it.")],
    tool: Annotated[str, typer.Option(help="A tool that reads, whose GET is sent.")],
    arg: Annotated[
        list[str] | None, typer.Option(help="NAME=VALUE; JSON where it is no text.")
    ] = None,
    customer: Annotated[str, typer.Option(help="The upstream's customer id.")] = "",
) -> None:
    """Have one test of a credential recorded and ordered; write the order.

    For people of security. The edge takes it once, within two minutes:
    counterfoil edge credentials test --order FILE.
    """
    arguments: dict[str, Any] = {}
    for text in arg or ():
        said, mark, value = text.partition("=")
        if not mark or not said:
            at.fail(f"{text[:40]!r} is not NAME=VALUE", code=Exit.USAGE)
        arguments[said] = _value(value)
    body = {
        "connector": connector,
        "version": version,
        "tool": tool,
        "arguments": arguments,
        "customer_id": customer,
    }

    async def work(person: PersonClient) -> Mapping[str, Any]:
        return await person.order_probe(body)

    found = at.run(work)
    at.show(found, lines=[str(found["order"])])


def _value(text: str) -> Any:  # noqa: ANN401  (JSON)
    try:
        return json.loads(text)
    except ValueError:
        return text


def credentials(
    context: typer.Context,
    state: Annotated[
        Path, typer.Option("--state", envvar="COUNTERFOIL_STATE")
    ] = STATE_DEFAULT,
) -> None:
    """Become the edge's program; nothing of a secret passes through this one."""
    try:
        environ = edge_environment(state.absolute(), os.environ)
    except StateError as error:
        typer.echo(f"{error}\n  {error.hint}" if error.hint else str(error), err=True)
        raise typer.Exit(Exit.FAILED) from None
    argv = [sys.executable, "-P", "-m", "broker.edge", "credentials", *context.args]
    sys.stdout.flush()
    os.execve(sys.executable, argv, environ)  # noqa: S606  (no shell is wanted)


def edge_environment(state: Path, caller: Mapping[str, str]) -> dict[str, str]:
    """Return the environment that the edge of a state has.

    Raises:
        StateError: There is no state.
    """
    passed_on = {name: caller[name] for name in _PASSED_ON if name in caller}
    told = {
        name: text for name, text in caller.items() if name.startswith("COUNTERFOIL_")
    }
    if "COUNTERFOIL_STAMP" not in told or (state / MARKER).exists():
        # A state of the embedded stack: its edge is told these, whoever asks.
        told["COUNTERFOIL_STAMP"] = read_stamp(state).value
        told["COUNTERFOIL_TENANT"] = TENANT
        told["COUNTERFOIL_ENVIRONMENT"] = ENVIRONMENT
    told.setdefault("COUNTERFOIL_CATALOG", str(catalog()))
    own_password = state / "edge" / "database.password"
    if own_password.exists():
        told[PASSWORD_FILE] = str(own_password)
    given = told.get(URL)
    told[URL] = (
        as_role(given, accounts.EDGE)
        if given
        else database_at(
            (state / "run").resolve() / "pg",
            role=accounts.EDGE,
            database=accounts.DATABASE,
        )
    )
    return {**passed_on, **told, "COUNTERFOIL_STATE": str(state)}
