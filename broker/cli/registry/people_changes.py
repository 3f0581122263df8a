"""Roles, limits and ends of people: what narrows at once, what widens by two."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from broker.cli.exits import Exit
from broker.cli.registry.changes import tell
from broker.cli.registry.people import PersonArgument, app, lines_of, parse_limits
from broker.cli.signed_in import (
    Desk,
    ReasonOption,
    as_person,
    pick,
)

if TYPE_CHECKING:
    from broker.client.person import PersonClient

RolesOption = Annotated[list[str], typer.Option(help="A role, like supervisor.")]


@app.command()
@as_person
def roles(
    at: Desk,
    person: PersonArgument,
    *,
    add: RolesOption = [],  # noqa: B006  (typer copies it)
    drop: RolesOption = [],  # noqa: B006
    reason: ReasonOption = "",
) -> None:
    """Take roles away at once (--drop), or ask for more of them (--add)."""
    if not (add or drop):
        at.fail("say which: --add ROLE or --drop ROLE", code=Exit.USAGE)
    _change(at, person, "roles", {"add": add, "drop": drop, "reason": reason})


@app.command()
@as_person
def limits(
    at: Desk,
    person: PersonArgument,
    limit: Annotated[
        list[str], typer.Argument(help="Like USD=150000 in minor units; 0 for none.")
    ],
    *,
    reason: ReasonOption = "",
) -> None:
    """Lower what a person may approve at once, or ask for more."""
    wanted = parse_limits(at, limit)
    _change(at, person, "limits", {"approval_limits": wanted, "reason": reason})


@app.command()
@as_person
def suspend(
    at: Desk,
    person: PersonArgument,
    *,
    reason: ReasonOption = "",
) -> None:
    """Stop a person at once: they can neither sign in nor vote."""
    _change(at, person, "suspend", {"reason": reason})


@app.command()
@as_person
def resume(
    at: Desk,
    person: PersonArgument,
    *,
    reason: ReasonOption = "",
) -> None:
    """Ask for a suspended person to be let in again."""
    _change(at, person, "resume", {"reason": reason})


@app.command()
@as_person
def remove(
    at: Desk,
    person: PersonArgument,
    *,
    reason: ReasonOption = "",
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Remove a person for good; one of the last two administrators only by two."""
    if not (yes or at.as_json):
        typer.confirm(f"Remove {person} for good?", abort=True)
    _change(at, person, "remove", {"reason": reason})


def _change(at: Desk, person: str, what: str, body: Mapping[str, Any]) -> None:
    async def work(me: PersonClient) -> Mapping[str, Any]:
        found = pick(await me.people(), person, desk=at, what="person")
        return await me.change_person(found["id"], what, body)

    tell(at, at.run(work), lines_of)
