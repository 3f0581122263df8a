"""Roles, limits and ends of people: what narrows at once, what widens by two."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from broker.cli.exits import Exit
from broker.cli.registry.changes import tell
from broker.cli.registry.people import PersonArgument, app, lines_of, parse_limits
from broker.cli.signed_in import (
    AsOption,
    Desk,
    JsonOption,
    KeyOption,
    ReasonOption,
    StateOption,
    UrlOption,
    desk,
    pick,
)
from broker.cli.stack.state import STATE_DEFAULT

if TYPE_CHECKING:
    from broker.client.person import PersonClient

RolesOption = Annotated[list[str], typer.Option(help="A role, like supervisor.")]


@app.command()
def roles(
    person: PersonArgument,
    *,
    add: RolesOption = [],  # noqa: B006  (typer copies it)
    drop: RolesOption = [],  # noqa: B006
    reason: ReasonOption = "",
    state: StateOption = STATE_DEFAULT,
    name: AsOption = "",
    key: KeyOption = None,
    url: UrlOption = "",
    as_json: JsonOption = False,
) -> None:
    """Take roles away at once (--drop), or ask for more of them (--add)."""
    at = desk(state, name, key, url, as_json=as_json)
    if not (add or drop):
        at.fail("say which: --add ROLE or --drop ROLE", code=Exit.USAGE)
    _change(at, person, "roles", {"add": add, "drop": drop, "reason": reason})


@app.command()
def limits(
    person: PersonArgument,
    limit: Annotated[
        list[str], typer.Argument(help="Like USD=150000 in minor units; 0 for none.")
    ],
    *,
    reason: ReasonOption = "",
    state: StateOption = STATE_DEFAULT,
    name: AsOption = "",
    key: KeyOption = None,
    url: UrlOption = "",
    as_json: JsonOption = False,
) -> None:
    """Lower what a person may approve at once, or ask for more."""
    at = desk(state, name, key, url, as_json=as_json)
    wanted = parse_limits(at, limit)
    _change(at, person, "limits", {"approval_limits": wanted, "reason": reason})


@app.command()
def suspend(
    person: PersonArgument,
    *,
    reason: ReasonOption = "",
    state: StateOption = STATE_DEFAULT,
    name: AsOption = "",
    key: KeyOption = None,
    url: UrlOption = "",
    as_json: JsonOption = False,
) -> None:
    """Stop a person at once: they can neither sign in nor vote."""
    at = desk(state, name, key, url, as_json=as_json)
    _change(at, person, "suspend", {"reason": reason})


@app.command()
def resume(
    person: PersonArgument,
    *,
    reason: ReasonOption = "",
    state: StateOption = STATE_DEFAULT,
    name: AsOption = "",
    key: KeyOption = None,
    url: UrlOption = "",
    as_json: JsonOption = False,
) -> None:
    """Ask for a suspended person to be let in again."""
    at = desk(state, name, key, url, as_json=as_json)
    _change(at, person, "resume", {"reason": reason})


@app.command()
def remove(
    person: PersonArgument,
    *,
    reason: ReasonOption = "",
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    state: StateOption = STATE_DEFAULT,
    name: AsOption = "",
    key: KeyOption = None,
    url: UrlOption = "",
    as_json: JsonOption = False,
) -> None:
    """Remove a person for good; one of the last two administrators only by two."""
    at = desk(state, name, key, url, as_json=as_json)
    if not (yes or as_json):
        typer.confirm(f"Remove {person} for good?", abort=True)
    _change(at, person, "remove", {"reason": reason})


def _change(at: Desk, person: str, what: str, body: Mapping[str, Any]) -> None:
    async def work(me: PersonClient) -> Mapping[str, Any]:
        found = pick(await me.people(), person, desk=at, what="person")
        return await me.change_person(found["id"], what, body)

    tell(at, at.run(work), lines_of)
