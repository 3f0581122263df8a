"""Use cases from the command line: which tools their agents may be granted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from broker.cli.signed_in import (
    Desk,
    ReasonOption,
    as_person,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from broker.cli.signed_in import Desk
    from broker.client.person import PersonClient

app = typer.Typer(
    name="use-cases",
    help="Use cases: which tools their agents may be granted.",
    no_args_is_help=True,
)
UseCase = Annotated[str, typer.Argument(help="Name of the use case.")]
Tools = Annotated[list[str], typer.Argument(help="Tools, like orders.refund.")]


def register(parent: typer.Typer) -> None:
    """Add these commands as ``use-cases``."""
    parent.add_typer(app)


@app.command("list")
@as_person
def list_(
    at: Desk,
) -> None:
    """List all use cases with their tools."""

    async def work(person: PersonClient) -> list[Mapping[str, Any]]:
        return list(await person.use_cases())

    columns = {
        "name": lambda one: str(one["name"]),
        "tier": lambda one: str(one["tier"]),
        "tools": lambda one: ", ".join(one["tools"]),
    }
    at.table(at.run(work), columns)


@app.command("add-tools")
@as_person
def add_tools(
    at: Desk,
    use_case: UseCase,
    tools: Tools,
    *,
    reason: ReasonOption = "",
) -> None:
    """Let agents of a use case be granted more tools."""
    _change(at, use_case, "add-tools", {"tools": tools, "reason": reason})


@app.command("drop-tools")
@as_person
def drop_tools(
    at: Desk,
    use_case: UseCase,
    tools: Tools,
    *,
    reason: ReasonOption = "",
) -> None:
    """Take tools from a use case that no agent of it holds."""
    _change(at, use_case, "drop-tools", {"tools": tools, "reason": reason})


def _change(at: Desk, use_case: str, what: str, body: Mapping[str, Any]) -> None:
    async def work(person: PersonClient) -> Mapping[str, Any]:
        return await person.change_use_case(use_case, what, body)

    found = at.run(work)
    count = len(found["tools"])
    at.show(found, lines=[f"{use_case} has {count} tools, up to tier {found['tier']}"])
