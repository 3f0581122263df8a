"""Sharing the work from the command line: claims, questions, absences."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import typer

from broker.cli.approvals import ApprovalArgument, app, printable
from broker.cli.exits import Exit
from broker.cli.signed_in import (
    AsOption,
    JsonOption,
    KeyOption,
    StateOption,
    UrlOption,
    desk,
)
from broker.cli.stack.state import STATE_DEFAULT
from broker.core.words.moment import write_moment

HOURS_MAX = 60 * 24


def register(parent: typer.Typer) -> None:
    """Add these commands to ``approvals``, which is there already."""
    del parent
    for command in (claim, release, ask, away):
        app.command()(command)


def claim(
    approval: ApprovalArgument,
    *,
    state: StateOption = STATE_DEFAULT,
    name: AsOption = "",
    key: KeyOption = None,
    url: UrlOption = "",
    as_json: JsonOption = False,
) -> None:
    """Work on one: others leave it alone for ten minutes, but for a no."""
    at = desk(state, name, key, url, as_json=as_json)
    found = at.run(lambda me: me.claim(approval))
    at.show(found, lines=[f"yours until {found['claimed_until']}"])


def release(
    approval: ApprovalArgument,
    *,
    state: StateOption = STATE_DEFAULT,
    name: AsOption = "",
    key: KeyOption = None,
    url: UrlOption = "",
    as_json: JsonOption = False,
) -> None:
    """Give one back, so that others may go on."""
    at = desk(state, name, key, url, as_json=as_json)
    found = at.run(lambda me: me.release(approval))
    at.show(found, lines=["given back" if found["released"] else "it was not yours"])


def ask(
    approval: ApprovalArgument,
    question: Annotated[str, typer.Argument(help="What the card does not say.")],
    *,
    state: StateOption = STATE_DEFAULT,
    name: AsOption = "",
    key: KeyOption = None,
    url: UrlOption = "",
    as_json: JsonOption = False,
) -> None:
    """Ask the agent; its answer is shown on the card as a model's."""
    at = desk(state, name, key, url, as_json=as_json)
    found = at.run(lambda me: me.ask(approval, question))
    at.show(found, lines=["asked; look at the card again for the answer"])


def away(
    *,
    deputy: Annotated[
        str, typer.Option("--deputy", help="Id of who gets your claims and reminders.")
    ] = "",
    hours: Annotated[
        int, typer.Option("--hours", min=1, max=HOURS_MAX, help="For how long.")
    ] = 24,
    back: Annotated[bool, typer.Option("--back", help="You are back.")] = False,
    state: StateOption = STATE_DEFAULT,
    name: AsOption = "",
    key: KeyOption = None,
    url: UrlOption = "",
    as_json: JsonOption = False,
) -> None:
    """Say that you are away, and who stands in; or see what you said."""
    at = desk(state, name, key, url, as_json=as_json)
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
