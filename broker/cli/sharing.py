"""Sharing the work from the command line: claims, questions, absences."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import typer

from broker.cli.approvals import ApprovalArgument, app, printable
from broker.cli.exits import Exit
from broker.cli.signed_in import (
    Desk,
    as_person,
)
from broker.core.words.moment import write_moment

HOURS_MAX = 60 * 24


def register(parent: typer.Typer) -> None:
    """Add these commands to ``approvals``, which is there already."""
    del parent
    for command in (claim, release, ask, away):
        app.command()(command)


@as_person
def claim(
    at: Desk,
    approval: ApprovalArgument,
) -> None:
    """Work on one: others leave it alone for ten minutes, but for a no."""
    found = at.run(lambda me: me.claim(approval))
    at.show(found, lines=[f"yours until {found['claimed_until']}"])


@as_person
def release(
    at: Desk,
    approval: ApprovalArgument,
) -> None:
    """Give one back, so that others may go on."""
    found = at.run(lambda me: me.release(approval))
    at.show(found, lines=["given back" if found["released"] else "it was not yours"])


@as_person
def ask(
    at: Desk,
    approval: ApprovalArgument,
    question: Annotated[str, typer.Argument(help="What the card does not say.")],
) -> None:
    """Ask the agent; its answer is shown on the card as a model's."""
    found = at.run(lambda me: me.ask(approval, question))
    at.show(found, lines=["asked; look at the card again for the answer"])


@as_person
def away(
    at: Desk,
    *,
    deputy: Annotated[
        str, typer.Option("--deputy", help="Id of who gets your claims and reminders.")
    ] = "",
    hours: Annotated[
        int, typer.Option("--hours", min=1, max=HOURS_MAX, help="For how long.")
    ] = 24,
    back: Annotated[bool, typer.Option("--back", help="You are back.")] = False,
) -> None:
    """Say that you are away, and who stands in; or see what you said."""
    if back and deputy:
        at.fail("either you are back, or away", code=Exit.USAGE)
    if back:
        found = at.run(lambda me: me.away("DELETE"))
    elif deputy:
        until = datetime.now(UTC) + timedelta(hours=hours)
        body = {"deputy": deputy, "until": write_moment(until)}
        found = at.run(lambda me: me.away("PUT", body))
    else:
        found = at.run(lambda me: me.away())
    at.show(found, lines=[_line(found)])


def _line(found: Mapping[str, Any]) -> str:
    gone = found["away"]
    if gone is None:
        return "you are here"
    handed = found.get("handed_over")
    more = f", {handed} handed over" if handed else ""
    return printable(f"away until {gone['until']}, {gone['deputy']} stands in{more}")
