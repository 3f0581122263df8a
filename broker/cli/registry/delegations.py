"""Let one agent act on another's authority, and take that away again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from broker.cli.registry.agents import app, lines_of
from broker.cli.registry.changes import tell
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

ParentArgument = Annotated[str, typer.Argument(help="Whose authority, name or id.")]
ChildArgument = Annotated[str, typer.Argument(help="Who may act on it, name or id.")]


@app.command()
def delegate(
    parent: ParentArgument,
    child: ChildArgument,
    *,
    reason: ReasonOption = "",
    state: StateOption = STATE_DEFAULT,
    name: AsOption = "",
    key: KeyOption = None,
    url: UrlOption = "",
    as_json: JsonOption = False,
) -> None:
    """Ask for another agent of the use case to act on an agent's authority."""
    at = desk(state, name, key, url, as_json=as_json)
    _change(at, "delegate", (parent, child), reason)


@app.command()
def undelegate(
    parent: ParentArgument,
    child: ChildArgument,
    *,
    reason: ReasonOption = "",
    state: StateOption = STATE_DEFAULT,
    name: AsOption = "",
    key: KeyOption = None,
    url: UrlOption = "",
    as_json: JsonOption = False,
) -> None:
    """Take that away at once; the parent's tokens end, and what came of them."""
    at = desk(state, name, key, url, as_json=as_json)
    _change(at, "undelegate", (parent, child), reason)


def _change(at: Desk, what: str, pair: tuple[str, str], reason: str) -> None:
    async def work(person: PersonClient) -> Mapping[str, Any]:
        known = await person.agents()
        parent, child = (pick(known, one, desk=at, what="agent") for one in pair)
        body = {"agent": child["id"], "reason": reason}
        return await person.change_agent(parent["id"], what, body)

    tell(at, at.run(work), lines_of)
