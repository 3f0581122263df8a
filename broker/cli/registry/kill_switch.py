"""Stop every agent at once, and let them go on by two."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from broker.cli.exits import Exit
from broker.cli.signed_in import (
    Desk,
    as_person,
)

if TYPE_CHECKING:
    from broker.client.person import PersonClient

app = typer.Typer(help="The kill switch: stop every agent at once.")
Reason = Annotated[
    str, typer.Option("--reason", help="Why; needed, and without personal data.")
]


def register(parent: typer.Typer) -> None:
    """Add the commands."""
    parent.add_typer(app, name="kill-switch", no_args_is_help=True)


@app.command()
@as_person
def status(
    at: Desk,
) -> None:
    """Say whether everything is stopped."""

    async def work(person: PersonClient) -> Mapping[str, Any]:
        return (await person.kill_switch()).checked()

    found = at.run(work)
    at.show(found, lines=_lines(found))


@app.command()
@as_person
def on(
    at: Desk,
    *,
    reason: Reason = "",
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Stop every agent at once, end their tokens, and refuse what waits for people."""
    if not reason:
        at.fail("say why: --reason", code=Exit.USAGE)
    if not (yes or at.as_json):
        typer.confirm("Stop every agent, and refuse all that is pending?", abort=True)

    async def work(person: PersonClient) -> Mapping[str, Any]:
        return (await person.kill_switch("on", reason=reason)).checked()

    found = at.run(work)
    at.show(found, lines=_lines(found))


@app.command()
@as_person
def off(
    at: Desk,
    *,
    reason: Reason = "",
) -> None:
    """Ask to let everything go on; a second person who says the same lifts it."""
    if not reason:
        at.fail("say why: --reason", code=Exit.USAGE)

    async def work(person: PersonClient) -> Mapping[str, Any]:
        return (await person.kill_switch("off", reason=reason)).checked()

    found = at.run(work)
    at.show(found, lines=_lines(found))
    if found["on"]:
        raise typer.Exit(Exit.PENDING)


def _lines(switch: Mapping[str, Any]) -> list[str]:
    if not switch["on"]:
        return ["the kill switch is off: agents act as their rows let them"]
    asked = switch["lift_asked_by"]
    return [
        "the kill switch is ON: no agent acts",
        f"{asked} asked to lift it; somebody else must confirm with `off`"
        if asked
        else "two people lift it, each with `counterfoil kill-switch off --reason ...`",
    ]
