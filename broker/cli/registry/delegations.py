"""Let one agent act on another's authority, and take that away again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from broker.cli.registry.agents import app, lines_of
from broker.cli.registry.changes import tell
from broker.cli.signed_in import (
    Desk,
    ReasonOption,
    as_person,
    pick,
)

if TYPE_CHECKING:
    from broker.client.person import PersonClient

ParentArgument = Annotated[str, typer.Argument(help="Whose authority, name or id.")]
ChildArgument = Annotated[str, typer.Argument(help="Who may act on it, name or id.")]


@app.command()
@as_person
def delegate(
    at: Desk,
    parent: ParentArgument,
    child: ChildArgument,
    *,
    reason: ReasonOption = "",
) -> None:
    """Ask for another agent of the use case to act on an agent's authority."""
    _change(at, "delegate", (parent, child), reason)


@app.command()
@as_person
def undelegate(
    at: Desk,
    parent: ParentArgument,
    child: ChildArgument,
    *,
    reason: ReasonOption = "",
) -> None:
    """Take that away at once; the parent's tokens end, and what came of them."""
    _change(at, "undelegate", (parent, child), reason)


def _change(at: Desk, what: str, pair: tuple[str, str], reason: str) -> None:
    async def work(person: PersonClient) -> Mapping[str, Any]:
        known = await person.agents()
        parent, child = (pick(known, one, desk=at, what="agent") for one in pair)
        body = {"agent": child["id"], "reason": reason}
        return await person.change_agent(parent["id"], what, body)

    tell(at, at.run(work), lines_of)
