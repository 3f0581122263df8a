"""Changes that take two people: what waits, and what the second person says."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from broker.cli.exits import Exit
from broker.cli.signed_in import (
    Desk,
    ReasonOption,
    as_person,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from broker.client.person import PersonClient

app = typer.Typer(help="Changes of agents and people that wait for a second person.")
ChangeArgument = Annotated[
    str, typer.Argument(help="The change, or the name of what it is about.")
]


def register(parent: typer.Typer) -> None:
    """Add the commands."""
    parent.add_typer(app, name="changes", no_args_is_help=True)


def tell(
    at: Desk,
    answer: Mapping[str, Any],
    lines: Callable[[Mapping[str, Any]], Sequence[str]],
    *more: str,
) -> None:
    """Show what has changed, or end with PENDING if it waits for a second person."""
    if "change" not in answer:
        at.show(answer, lines=[*lines(answer), *more])
        return
    waits = [
        *lines(answer["would_be"]),
        *more,
        f"waits for a second person: counterfoil changes approve {answer['change']}",
    ]
    at.show(answer, lines=waits)
    raise typer.Exit(Exit.PENDING)


@app.command("list")
@as_person
def list_(
    at: Desk,
) -> None:
    """List what somebody asked for and nobody has decided."""

    async def work(person: PersonClient) -> Sequence[Mapping[str, Any]]:
        return await person.changes()

    at.table(
        at.run(work),
        {
            "what": lambda row: row["what"],
            "about": lambda row: row["name"],
            "asked by": lambda row: row["asked_by"],
            "until": lambda row: row["expires_at"],
            "change": lambda row: row["change"],
        },
    )


@app.command()
@as_person
def show(
    at: Desk,
    change: ChangeArgument,
) -> None:
    """Show a change, with the row as it would be."""

    async def work(person: PersonClient) -> Mapping[str, Any]:
        return await person.change(await _id(person, at, change))

    found = at.run(work)
    at.show(found, lines=_lines(found))


@app.command()
@as_person
def approve(
    at: Desk,
    change: ChangeArgument,
    *,
    revision: Annotated[
        int, typer.Option("--revision", min=0, help="As `changes show` names it.")
    ] = 0,
    reason: ReasonOption = "",
) -> None:
    """Make a change true, as the second person.

    With --revision it is what you looked at, and nothing that took its place.
    """

    async def work(person: PersonClient) -> Mapping[str, Any]:
        found = await _id(person, at, change)
        seen = revision or (await person.change(found))["revision"]
        return await person.approve_change(found, revision=seen, reason=reason)

    found = at.run(work)
    at.show(found, lines=_lines(found))


@app.command()
@as_person
def reject(
    at: Desk,
    change: ChangeArgument,
    *,
    reason: ReasonOption = "",
) -> None:
    """Refuse a change, or take back one's own."""

    async def work(person: PersonClient) -> Mapping[str, Any]:
        return await person.reject_change(await _id(person, at, change), reason=reason)

    found = at.run(work)
    at.show(found, lines=_lines(found))


async def _id(person: PersonClient, at: Desk, wanted: str) -> str:
    """Return the id of a change, given that or the name of what it is about."""
    waiting = await person.changes()
    names = [row["change"] for row in waiting if row["name"] == wanted]
    if len(names) > 1:
        at.fail(f"several changes are about {wanted!r}: name one ({', '.join(names)})")
    return str(names[0]) if names else wanted


def _lines(change: Mapping[str, Any]) -> list[str]:
    would_be = change["would_be"]
    if change["kind"] == "agent":
        keys = ", ".join(key["kid"] for key in would_be["keys"])
        row = [
            f"tier      up to {would_be['tier_max']}",
            f"tools     {', '.join(would_be['tools']) or 'none'}",
            f"keys      {keys or 'none'}",
        ]
    elif change["kind"] == "channel":
        row = [f"keys      {', '.join(key['kid'] for key in would_be['keys'])}"]
    else:
        limits = would_be["approval_limits"]
        shown = ", ".join(f"{amount} {currency}" for currency, amount in limits.items())
        row = [
            f"roles     {', '.join(would_be['roles']) or 'none'}",
            f"approves  {shown or 'nothing'} (minor units)",
        ]
    return [
        f"change    {change['change']} ({change['status']})",
        f"revision  {change['revision']}",
        f"what      {change['what']} of {change['name']}",
        f"status    {would_be['status']} afterwards",
        *row,
        f"asked by  {change['asked_by']} at {change['asked_at']}",
        f"until     {change['expires_at']}",
        *([f"reason    {change['reason']}"] if change["reason"] else []),
        *([f"ended by  {change['ended_by']}"] if change["ended_by"] else []),
    ]
