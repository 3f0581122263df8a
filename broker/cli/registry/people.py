"""People from the command line: who they are, what they may sign, who one is."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from broker.cli.exits import Exit
from broker.cli.registry.changes import tell
from broker.cli.signed_in import (
    Desk,
    JsonOption,
    KeyOption,
    ReasonOption,
    StateOption,
    UrlOption,
    as_person,
    desk,
    pick,
)
from broker.cli.stack.state import STATE_DEFAULT
from broker.client.keys import ClientKey, KeyFileError, new_key, write_key
from broker.client.person import PersonClient
from broker.core.jws import public_to_jwk

app = typer.Typer(
    name="people", help="People: who may sign what.", no_args_is_help=True
)

PersonArgument = Annotated[str, typer.Argument(help="Name or id of the person.")]


def register(parent: typer.Typer) -> None:
    """Add these commands as ``people``, and the way into the console."""
    parent.add_typer(app)
    parent.command()(console)


@app.command("list")
@as_person
def list_(
    at: Desk,
) -> None:
    """List everybody."""
    at.table(
        at.run(PersonClient.people),
        {
            "name": lambda row: row["name"],
            "status": lambda row: row["status"],
            "roles": lambda row: ", ".join(row["roles"]),
            "may approve": _limits,
            "id": lambda row: row["id"],
        },
    )


@app.command()
@as_person
def show(
    at: Desk,
    person: PersonArgument,
) -> None:
    """Show a person: roles, limits, keys and when they were used."""

    async def work(me: PersonClient) -> Mapping[str, Any]:
        found = pick(await me.people(), person, desk=at, what="person")
        return await me.person(found["id"])

    found = at.run(work)
    at.show(found, lines=lines_of(found))


@app.command()
@as_person
def add(
    at: Desk,
    person: Annotated[str, typer.Argument(help="Name of the new person.")],
    *,
    role: Annotated[list[str], typer.Option(help="A role, like supervisor.")],
    limit: Annotated[
        list[str], typer.Option(help="What they may approve at once: USD=200000.")
    ] = [],  # noqa: B006  (typer copies it)
    out: Annotated[
        Path | None, typer.Option(help="Where to write the new person's key file.")
    ] = None,
    reason: ReasonOption = "",
) -> None:
    """Ask for a person, make their key, and write the key file for them."""
    path = out or at.people() / f"{person}.jwk"
    if path.exists():
        at.fail(f"{path} is there already", hint="name another file with --out")
    fresh = new_key()
    body = {
        "name": person,
        "roles": role,
        "approval_limits": parse_limits(at, limit),
        "key": public_to_jwk(fresh.public()),
        "reason": reason,
    }
    made = at.run(lambda me: me.add_person(body))
    would_be = made["would_be"]
    try:
        write_key(path, ClientKey(str(would_be["client_id"]), person, fresh))
    except KeyFileError as error:
        at.fail(str(error), hint=f"reject {made['change']} and add them anew")
    tell(at, made, lines_of, f"key file  {path}")


@app.command("sign-in")
def sign_in(
    person: Annotated[str, typer.Argument(help="Name of a demo person.")] = "",
    *,
    key: KeyOption = None,
    state: StateOption = STATE_DEFAULT,
    url: UrlOption = "",
    as_json: JsonOption = False,
) -> None:
    """Show the broker one's key, and take it for the commands that follow."""
    at = desk(state, person, key, url, as_json=as_json)
    path = key or at.people() / f"{person}.jwk"
    if not (person or key):
        at.fail("say who signs in, by name or with --key", code=Exit.USAGE)
    me = at.run(PersonClient.me)
    at.remember(path)
    roles = ", ".join(me["roles"])
    at.show(me, lines=[f"signed in as {me['name']} ({roles}) with {path}"])


@as_person
def console(
    at: Desk,
) -> None:
    """Print a link that signs you in to the console: once, for five minutes."""
    link = at.run(PersonClient.console_link)
    at.show(link, lines=[link["url"]])


def parse_limits(at: Desk, limits: list[str]) -> dict[str, int]:
    """Return limits in minor units by currency, or end the command."""
    parsed: dict[str, int] = {}
    for limit in limits:
        currency, _, amount = limit.partition("=")
        if not amount.isdecimal():
            at.fail(
                f"{limit!r} is no limit",
                hint="write minor units, like --limit USD=200000 for 2,000.00 USD",
                code=Exit.USAGE,
            )
        parsed[currency] = int(amount)
    return parsed


def _limits(person: Mapping[str, Any]) -> str:
    return ", ".join(
        f"{amount / 100:,.2f} {currency}"
        for currency, amount in person["approval_limits"].items()
    )


def lines_of(person: Mapping[str, Any]) -> list[str]:
    """Return what people read about a person."""
    lines = [
        f"person    {person['name']} ({person['status']})",
        f"id        {person['id']}",
        f"roles     {', '.join(person['roles']) or 'none'}",
        f"approves  {_limits(person) or 'nothing'}",
    ]
    for key in person["keys"]:
        used = key.get("last_used")
        when = "" if "last_used" not in key else f", last used {used or 'never'}"
        lines.append(f"key       {key['kid']} ({key['algorithm']}{when})")
    return lines
