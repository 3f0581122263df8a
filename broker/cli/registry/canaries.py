"""Canaries: actions that were made up and must be rejected, and who rejects them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from broker.cli.exits import Exit
from broker.cli.signed_in import (
    Desk,
    ReasonOption,
    as_person,
)

if TYPE_CHECKING:
    from broker.client.person import PersonClient

app = typer.Typer(help="Canaries: made-up actions that show whether approval protects.")
_PATH = "/v1/admin/canaries"


def register(parent: typer.Typer) -> None:
    """Add the commands."""
    parent.add_typer(app, name="canaries", no_args_is_help=True)


@app.command()
@as_person
def status(
    at: Desk,
) -> None:
    """Say whether they are on, and how each approver does."""

    async def work(person: PersonClient) -> Mapping[str, Any]:
        return (await person.call("GET", _PATH)).checked()

    found = at.run(work)
    at.show(found, lines=[_switch(found), *map(_line, found["people"])])


@app.command()
@as_person
def on(
    at: Desk,
    *,
    notice_shown: Annotated[
        str, typer.Option("--notice-shown", help="Where and when the staff was told.")
    ] = "",
    agent: Annotated[str, typer.Option("--agent", help="Id of the agent that asks.")],
    per_day: Annotated[int, typer.Option("--per-day", help="How many a day.")] = 1,
) -> None:
    """Ask to switch them on; a second person who says the same does."""

    async def work(person: PersonClient) -> Mapping[str, Any]:
        if not notice_shown:
            return (await person.call("GET", _PATH)).checked()
        body = {"notice_shown": notice_shown, "agent": agent, "per_day": per_day}
        return (await person.call("POST", f"{_PATH}/on", json=body)).checked()

    found = at.run(work)
    if not notice_shown:
        at.fail(
            "show this to everybody who approves, then say where and when you did",
            hint=f"--notice-shown '...'\n\n{found['staff_notice']}",
            code=Exit.USAGE,
        )
    at.show(found, lines=[_switch(found)])
    if found["status"] == "asked":
        raise typer.Exit(Exit.PENDING)


@app.command()
@as_person
def off(
    at: Desk,
    *,
    reason: ReasonOption = "",
) -> None:
    """Switch them off at once."""

    async def work(person: PersonClient) -> Mapping[str, Any]:
        body = {"reason": reason}
        return (await person.call("POST", f"{_PATH}/off", json=body)).checked()

    found = at.run(work)
    at.show(found, lines=[_switch(found)])


@app.command("give-back")
@as_person
def give_back(
    at: Desk,
    person_id: Annotated[str, typer.Argument(help="Whose right; an id.")],
    *,
    reason: ReasonOption = "",
) -> None:
    """Ask to give a suspended right back; a second person who says the same does."""

    async def work(person: PersonClient) -> Mapping[str, Any]:
        path = f"{_PATH}/rights/{person_id}/give-back"
        return (await person.call("POST", path, json={"reason": reason})).checked()

    found = at.run(work)
    if found["suspended"]:
        at.show(found, lines=["asked: somebody else must confirm it"])
        raise typer.Exit(Exit.PENDING)
    at.show(found, lines=["given back"])


def _switch(found: Mapping[str, Any]) -> str:
    match found["status"]:
        case "on":
            return (
                f"canaries are on, {found['per_day']} a day in {found['agent']}'s name"
            )
        case "asked":
            return (
                f"{found['asked_by']} asked to switch canaries on; a second must say so"
            )
        case _:
            return "canaries are off"


def _line(one: Mapping[str, Any]) -> str:
    parts = [f"{one['person']}  caught {one['caught']} of {one['canaries']}"]
    parts.append(f"evidence {one['evidence']} of {one['alarm_at']:.0f}")
    if one["decided"]:
        parts.append(f"approved {one['approved']} of {one['decided']}")
    if one["dwell_s"] is not None:
        parts.append(f"looked {one['dwell_s']:.0f} s")
    if one["suspended"]:
        parts.append("SUSPENDED")
    return "  ".join(parts)
