"""Rehearse a policy: on the requests of the last days, and beside the live one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from broker.cli.exits import Exit
from broker.cli.policy.life import content_in
from broker.cli.signed_in import (
    Desk,
    ReasonOption,
    as_person,
)
from broker.client import policy as remote
from broker.client.person import PersonClient
from broker.core.words.money import AMOUNT_MINOR_UNITS_MAX, Money
from broker.watch.replay import Tally, from_json, to_json

OFF = "off"

DaysOption = Annotated[int, typer.Option("--days", help="How far back.", min=1)]


def add(parent: typer.Typer) -> None:
    """Add these commands."""
    for command in (replay, shadow):
        parent.command()(command)


@as_person
def replay(
    at: Desk,
    *,
    policy: Annotated[Path, typer.Option("--policy", help="Folder of the candidate.")],
    days: DaysOption = 7,
    strict: Annotated[
        bool, typer.Option("--strict", help="End with 1 if anything flips.")
    ] = False,
) -> None:
    """Put the recorded requests of the last days to a candidate; print every flip.

    A flip is what the candidate decides otherwise than the policy in force.
    """
    content = content_in(at, policy)

    async def work(me: PersonClient) -> tuple[Tally, dict[str, str]]:
        tally, after, until, more = Tally(), "", "", True
        while more:
            page = await remote.replay(me, content, days=days, after=after, until=until)
            tally.add(from_json(page["tally"]))
            after, until, more = page["after"], page["until"], page["more"]
        return tally, {one["id"]: one["name"] for one in await me.agents()}

    tally, names = at.run(work)
    _print(at, to_json(tally), names)
    if strict and tally.flipped:
        raise typer.Exit(Exit.FAILED)


@as_person
def shadow(
    at: Desk,
    what: Annotated[
        str, typer.Argument(help="Folder of the candidate, or off.", metavar="FOLDER")
    ] = "",
    *,
    status: Annotated[
        bool, typer.Option("--status", help="Show what it would have done otherwise.")
    ] = False,
    reason: ReasonOption = "",
) -> None:
    """Run a candidate beside the live policy; it decides nothing, its flips count."""
    if bool(what) == status:
        at.fail("name a folder, or off, or ask for --status", code=Exit.USAGE)
    if status:
        _show_status(at)
        return
    content = None if what == OFF else content_in(at, Path(what))
    found = at.run(lambda me: remote.set_shadow(me, content, reason=reason))
    at.show(found, lines=[f"shadow {found['state']}"])


def _show_status(at: Desk) -> None:
    async def work(me: PersonClient) -> tuple[Mapping[str, Any], dict[str, str]]:
        found = await remote.shadow(me)
        return found, {one["id"]: one["name"] for one in await me.agents()}

    found, names = at.run(work)
    if at.as_json or not found.get("tally"):
        at.show(found, lines=[f"shadow {found['state']}, nothing counted yet"])
        return
    typer.echo(f"shadow {found['state']} since {found['since']} {found['digest'][:12]}")
    _print(at, found["tally"], names)


def _print(at: Desk, tally: Mapping[str, Any], names: Mapping[str, str]) -> None:
    if at.as_json:
        at.show(tally)
        return
    if tally["flips"]:
        at.table(
            tally["flips"],
            {
                "was": lambda row: row["before"],
                "would be": lambda row: row["after"],
                "tool": lambda row: row["tool"],
                "agent": lambda row: names.get(row["agent"], row["agent"]),
                "count": lambda row: str(row["count"]),
                "sum": money,
            },
        )
    for line in summary(tally):
        typer.echo(line)


def money(row: Mapping[str, Any]) -> str:
    """Return the sum of a flip, nothing for tools that move no money."""
    if not row["currency"]:
        return ""
    if row["minor_units"] > AMOUNT_MINOR_UNITS_MAX:
        return f"{row['minor_units']} minor units {row['currency']}"
    return str(Money(row["minor_units"], row["currency"]))


def summary(tally: Mapping[str, Any]) -> Iterator[str]:
    """Yield how much was looked at, and what could not be."""
    yield f"{tally['flipped']} of {tally['replayed']} actions come out differently"
    if tally.get("simulated"):
        yield f"{tally['simulated']} of them are simulated history: they never happened"
    for why, count in sorted(tally["left_out"].items()):
        if count:
            yield f"left out: {count} ({why})"
